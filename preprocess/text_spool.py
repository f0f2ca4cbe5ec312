"""Very many texts, kept on disk and read one at a time."""

from array import array
from collections.abc import Iterator
from tempfile import TemporaryFile


class TextSpool:
    """Texts by number, in a temporary file that has no name and is gone with the process."""

    def __init__(self) -> None:
        self._file = TemporaryFile()  # noqa: SIM115 - it lasts as long as the texts do
        self._ends = array("q", [0])
        self._further: dict[int, list[str]] = {}

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[str]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> str:
        if not 0 <= number < len(self):
            raise IndexError(number)
        start, end = self._ends[number], self._ends[number + 1]
        self._file.seek(start)
        text = self._file.read(end - start).decode("utf-8", "surrogatepass")
        return "\n".join(part for part in (text, *self._further.get(number, ())) if part)

    def append(self, text: str) -> int:
        """Keep a text; its number is returned."""
        start = self._ends[-1]
        self._file.seek(start)
        self._ends.append(start + self._file.write(text.encode("utf-8", "surrogatepass")))
        return len(self) - 1

    def extend(self, number: int, text: str) -> None:
        """Join more to a text that is kept, after a line break."""
        self._further.setdefault(number, []).append(text)
