"""The command line: `ctvlp COMMAND key=value ...`; names are checked before anything heavy is imported."""

import difflib
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, cast

from preprocess.errors import CtvlpError, InputError
from preprocess.signals import Terminated, raise_on_sigterm

EXIT_OK, EXIT_FAILURES, EXIT_INPUT, EXIT_INTERRUPTED, EXIT_TERMINATED = 0, 1, 2, 130, 143


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        summary: One line for `--help`.
        literal: Keys whose values are paths or free text, taken as they are, those of a group with its name and a dot;
            all others are parsed by hydra.
        target: `module:function`; the function takes the configuration as a dict and returns the exit status.
    """

    summary: str
    literal: frozenset[str]
    target: str


def _command(name: str, summary: str, literal: str) -> Command:
    return Command(summary, frozenset(literal.split()), f"ctvlp.commands:{name}")


COMMANDS = {
    "demo": _command("demo", "the whole way on a simulated archive, ending in OUT/index.html", "out"),
    "simulate": _command("simulate", "write a simulated hospital archive with reports, masks and truth", "out mess"),
    "preprocess": _command(
        "preprocess",
        "archive and reports to a store of anatomy crops and texts",
        "archive out masks reports vocabulary key_file split segmenter segmenter_labels weights decisions cluster "
        "shard language language_model id_column text_column patient_column report_column date_column "
        "time_column status_column",
    ),
    "plan": _command(
        "plan",
        "studies, hours, bytes read and written, before preprocess starts",
        "archive out masks reports vocabulary key_file split segmenter segmenter_labels weights decisions cluster "
        "shard language language_model id_column text_column patient_column report_column date_column "
        "time_column status_column",
    ),
    "recrop": _command(
        "recrop",
        "crops of a store made anew for a changed vocabulary, without any network",
        "archive out masks reports vocabulary key_file split decisions cluster shard language language_model "
        "id_column text_column patient_column report_column date_column time_column status_column",
    ),
    "status": _command("status", "done, failed by reason, rate and time left of a store", "store key_file"),
    "reports": _command(
        "reports",
        "reports alone to tables of status, findings and evidence",
        "reports out explain vocabulary language language_model id_column text_column patient_column report_column "
        "time_column status_column",
    ),
    "gc": _command("gc", "remove the files that studies had before their source changed", "store"),
    "check": _command("check", "verify every crop's bytes and schema", "store"),
    "inspect": _command("inspect", "a page about the archive: refusals, distributions, outliers", "store out"),
    "train": _command(
        "train",
        "contrastive pre-training per anatomy; resumes where it stopped",
        "store out vocabulary text_cache model.text_encoder",
    ),
    "screen": _command(
        "screen",
        "zero-shot scores and a page for the studies of a store",
        "store checkpoint out text_encoder text_cache",
    ),
    "evaluate": _command("evaluate", "metrics of scores against labels, with intervals", "scores labels out ids run"),
    "doctor": _command("doctor", "what this machine can run, and what is missing", "weights"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        arguments: Words of the command line without the program's name; `sys.argv` by default.

    Returns:
        0 success, 1 some studies failed, 2 unusable input, 130 interrupted, 143 ended by SIGTERM.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with raise_on_sigterm():
            return _run(words)
    except InputError as error:
        return _complain(str(error)) if _speaks() else EXIT_INPUT
    except CtvlpError as error:
        return _complain(str(error))
    except OSError as error:
        return _complain(_describe(error))
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        return _complain("numba may write nowhere what it compiles; set NUMBA_CACHE_DIR to a folder for it")
    except KeyboardInterrupt as error:
        if _speaks():
            print("ctvlp: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return EXIT_TERMINATED if isinstance(error, Terminated) else EXIT_INTERRUPTED


def _run(words: list[str]) -> int:
    if not words or words[0] in {"-h", "--help", "help"}:
        print(_overview())
        return EXIT_OK
    if words[0] in {"--version", "version"}:
        from ctvlp import __version__

        print(f"ctvlp {__version__}")
        return EXIT_OK
    name, overrides = words[0], words[1:]
    if name not in COMMANDS:
        raise InputError(f"no command {name!r}{_suggestion(name, COMMANDS)}; see ctvlp --help")
    if any(word in {"-h", "--help"} for word in overrides):
        print(_command_help(name))
        return EXIT_OK
    config = compose_config(name, overrides)
    return _load(COMMANDS[name].target)(config)


def compose_config(name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Compose a command's configuration from its file in `configs/` and the words of the command line.

    Args:
        name: Command.
        overrides: `key=value` words; literal keys are taken as they are, all else is hydra's override grammar.

    Returns:
        Plain nested dict.

    Raises:
        InputError: A word is no `key=value`, a key does not exist, a value does not fit, or a required key is missing.
    """
    literal: dict[str, str] = {}
    composed = []
    for word in overrides:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise InputError(f"{name}: {word!r} is not key=value")
        if key in COMMANDS[name].literal:
            literal[key] = value
        else:
            composed.append(word)
    return _compose(name, composed, literal)


def _compose(name: str, overrides: list[str], literal: dict[str, str]) -> dict[str, Any]:
    from hydra import compose, initialize_config_dir
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    parser = OverridesParser.create()
    for word in overrides:
        try:
            parser.parse_override(word)
        except HydraException as error:
            raise InputError(f"{name}: {word!r} cannot be parsed: {_first_line(str(error))}") from error
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            config = compose(name, overrides)
        missing = sorted(OmegaConf.missing_keys(config) - set(literal))
        composed = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise InputError(f"{name}: {_explain(name, str(error))}") from error
    if missing:
        raise InputError(f"{name}: {missing[0]}= is required; see ctvlp {name} --help")
    for key, value in literal.items():
        *groups, name = key.split(".")
        reduce(dict.__getitem__, groups, composed)[name] = value
    return composed


def config_dir() -> Path:
    """Return the folder of configuration files: inside the package when installed, beside it in a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "configs"


def _explain(name: str, message: str) -> str:
    """Turn hydra's many lines into one that names the key and the nearest known one."""
    found = re.search(r"Could not override '([^']+)'", message) or re.search(r"Key '([^']+)' is not in struct", message)
    if found:
        return f"no key {found[1]!r}{_suggestion(found[1], _known_keys(name))}; see ctvlp {name} --help"
    if found := re.search(r"Could not find '(\w+)/([^']+)'", message):
        known = sorted(path.stem for path in (config_dir() / found[1]).glob("*.yaml"))
        return f"no {found[1]} {found[2]!r}{_suggestion(found[2], known)}; known: {', '.join(known)}"
    return _first_line(message)


def _first_line(message: str) -> str:
    return next((line.strip() for line in message.splitlines() if line.strip()), message)


def _known_keys(name: str) -> list[str]:
    import yaml

    values = yaml.safe_load((config_dir() / f"{name}.yaml").read_text(encoding="utf-8"))
    groups = [key for entry in values.pop("defaults", []) if isinstance(entry, dict) for key in entry]
    return [*groups, *_paths(values)]


def _paths(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the keys of a configuration, those of a group with its name and a dot."""
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _paths(value, f"{prefix}{key}.")


def _suggestion(word: str, known: Sequence[str] | dict[str, Command]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: ctvlp COMMAND key=value ...",
            "",
            "commands:",
            *lines,
            "",
            "ctvlp COMMAND --help lists a command's keys.",
        ]
    )


def _command_help(name: str) -> str:
    text = (config_dir() / f"{name}.yaml").read_text(encoding="utf-8")
    usage = f"usage: ctvlp {name} key=value ...\n\n{COMMANDS[name].summary}"
    return f"{usage}\n\nkeys and defaults (??? is required):\n\n{text}"


def _load(target: str) -> Callable[[dict[str, Any]], int]:
    module, function = target.split(":")
    loaded: Callable[[dict[str, Any]], int] = getattr(importlib.import_module(module), function)
    return loaded


def _describe(error: OSError) -> str:
    where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def _speaks() -> bool:
    """Whether this process tells what all of a machine's processes meet alike, of those that `torchrun` started."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _complain(message: str) -> int:
    print(f"ctvlp: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_INPUT


if __name__ == "__main__":
    sys.exit(main())
