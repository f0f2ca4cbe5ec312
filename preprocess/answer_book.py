"""Answers of a language model kept on disk, so that no clause is asked twice and failures are asked again.

An SQLite file, for it grows by a batch at a time, survives a kill and never needs to fit in memory. It holds clauses of
reports, so only its owner can read it, and it lies beside the tables, never among them.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

from preprocess.errors import InputError
from preprocess.model_answers import Answer, Choice, Failure

_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    asked TEXT NOT NULL,
    clause TEXT NOT NULL,
    model TEXT NOT NULL,
    anatomy TEXT,
    finding TEXT,
    says TEXT,
    confidence REAL,
    failure TEXT,
    tries INTEGER NOT NULL,
    PRIMARY KEY (asked, clause)
) WITHOUT ROWID
"""
_WRITE = """
INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)
ON CONFLICT (asked, clause) DO UPDATE SET anatomy = excluded.anatomy, finding = excluded.finding, says = excluded.says,
    confidence = excluded.confidence, failure = excluded.failure, tries = tries + 1
"""
_READ = (
    "SELECT model, anatomy, finding, says, confidence FROM answers WHERE asked = ? AND clause = ? AND failure IS NULL"
)


class AnswerBook:
    """What a model answered, by clause.

    Args:
        path: The file, made if missing; None keeps answers in memory only.
        asked: Digest of model and question: answers to another one do not count.

    Raises:
        InputError: The file cannot be opened or is no such file.
    """

    def __init__(self, path: Path | None, asked: str) -> None:
        self.asked = asked
        self._path = path
        try:
            if path is not None:
                path.touch(mode=0o600)
            self._database = sqlite3.connect(":memory:" if path is None else path)
            with self._database:
                self._database.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise InputError(f"answers {path} cannot be opened: {error}") from error

    def find(self, clauses: Iterable[str]) -> dict[str, Answer]:
        """Return the answers of those clauses that were answered; failed ones are missing.

        Raises:
            InputError: The file cannot be read.
        """
        found = {}
        try:
            for clause in clauses:
                row = self._database.execute(_READ, (self.asked, clause)).fetchone()
                if row is not None:
                    model, anatomy, finding, says, confidence = row
                    found[clause] = Answer(Choice(anatomy, finding, says), confidence, model)
        except sqlite3.Error as error:
            raise InputError(f"answers {self._path} cannot be read: {error}") from error
        return found

    def record(self, outcomes: Mapping[str, Answer | Failure], model: str) -> None:
        """Keep what became of clauses, in one transaction.

        Raises:
            InputError: The file cannot be written.
        """
        rows: list[tuple[object, ...]] = []
        for clause, outcome in outcomes.items():
            if isinstance(outcome, Failure):
                rows.append((self.asked, clause, model, None, None, None, None, outcome.reason))
            else:
                choice = outcome.choice
                said = (choice.anatomy, choice.finding, choice.says, outcome.confidence)
                rows.append((self.asked, clause, model, *said, None))
        try:
            with self._database:
                self._database.executemany(_WRITE, rows)
        except sqlite3.Error as error:
            raise InputError(f"answers {self._path} cannot be written: {error}") from error

    def failures(self) -> dict[str, str]:
        """Return the clauses that failed when they were last asked, and why, in order of the clauses."""
        query = "SELECT clause, failure FROM answers WHERE asked = ? AND failure IS NOT NULL ORDER BY clause"
        return dict(self._database.execute(query, (self.asked,)))

    def close(self) -> None:
        """Close the file."""
        self._database.close()
