"""Where settings are read from, and how each fault of a source ends as one sentence among the others.

A source that can't be read is left out and named, so that the faults of the others are told with it.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
)

CONFIG_VARIABLE = "LEVELGATE_CONFIG"
SECRETS_VARIABLE = "LEVELGATE_SECRETS_DIR"

LOCAL_CONFIG = Path(".levelgate/levelgate.toml")
"""Written by `levelgate up`: the local stack's own settings."""

_MESSAGES = {
    "missing": "is not set",
    "extra_forbidden": "there is no setting of this name",
    "dict_type": "write it as a JSON object, or field by field",
    "model_type": "write it as a JSON object, or field by field",
    "model_attributes_type": "write it as a JSON object, or field by field",
    "too_short": "is too short",
}


def config_file() -> Path | None:
    """Return the TOML file that settings are read from, or None."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    return next((path for path in (Path("levelgate.toml"), LOCAL_CONFIG) if path.is_file()), None)


def sources(settings: type[BaseSettings], init: PydanticBaseSettingsSource) -> tuple[PydanticBaseSettingsSource, ...]:
    """Return the sources, strongest first; one that can't be read is left out (`source_faults` names it)."""
    secret_files, _ = _secret_files(settings)
    table, _ = _table(config_file())
    return (init, _Environment(settings), *secret_files, InitSettingsSource(settings, table))


def source_faults(settings: type[BaseSettings]) -> list[str]:
    """Return what is wrong with the configuration file and the folder of secrets, if anything."""
    _, file_fault = _table(config_file())
    _, folder_fault = _secret_files(settings)
    return [fault for fault in (file_fault, folder_fault) if fault]


def setting_faults(error: ValidationError, *, sources_failed: bool) -> list[str]:
    """Return a sentence for each setting at fault. None repeats a value, since a value may be a secret.

    Where a source could not be read, nothing can be said of settings that are missing.
    """
    # pydantic's own text repeats the input, secrets of other fields included: it is dropped here.
    details = error.errors(include_input=False, include_url=False)
    return [_sentence(detail) for detail in details if not (sources_failed and detail["type"] == "missing")]


def _sentence(detail: ErrorDetails) -> str:
    loc = detail["loc"]
    names = [str(part).upper() for part in loc if isinstance(part, str)]
    message = _MESSAGES.get(detail["type"], detail["msg"].removeprefix("Value error, "))
    path = ".".join(str(part) for part in loc)
    if detail["type"] == "extra_forbidden" and _is_in(_table(config_file())[0], loc):
        return f"{path} in {config_file()}: {message}"
    return f"{path} (LEVELGATE_{'__'.join(names)}): {message}"


def _is_in(table: Any, loc: tuple[int | str, ...]) -> bool:  # noqa: ANN401 -- a parsed TOML value
    for part in loc:
        if not isinstance(table, dict) or part not in table:
            return False
        table = table[part]
    return True


def _table(path: Path | None) -> tuple[dict[str, Any], str | None]:
    """Return what is in the TOML file, and its fault, if it can't be read."""
    if path is None:
        return {}, None
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")), None
    except tomllib.TOMLDecodeError as error:
        # Its message may quote the text: only the place is told.
        place = re.search(r"\(at [^()]*\)$", str(error))
        return {}, f"the configuration file {path} is not TOML {place[0] if place else ''}".rstrip()
    except FileNotFoundError:
        return {}, f"{CONFIG_VARIABLE} names {path}, and there is no such file"
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        return {}, f"the configuration file {path} can't be read: {type(error).__name__}"


def _secret_files(settings: type[BaseSettings]) -> tuple[list[PydanticBaseSettingsSource], str | None]:
    """Return the source of mounted secret files, if one is named, and its fault, if it can't be read."""
    folder = os.environ.get(SECRETS_VARIABLE)
    if not folder:
        return [], None
    if not Path(folder).is_dir():
        return [], f"{SECRETS_VARIABLE} names {folder}, which is not a folder"
    try:
        return [_SecretFiles(settings, secrets_dir=folder)], None  # type: ignore[arg-type]  # it takes the class too
    except (OSError, ValueError) as error:
        return [], f"a file in the folder of secrets {folder} can't be read: {type(error).__name__}"


class _TextOnFault(EnvSettingsSource):
    """Leaves a text that should be JSON and is not as it is: its type's check then finds it, with all other faults."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:  # noqa: ANN401 -- pydantic's
        try:
            return super().decode_complex_value(field_name, field, value)
        except (ValueError, RecursionError):
            return value


class _Environment(_TextOnFault):
    """`LEVELGATE_*`, groups joined by `__`."""


class _SecretFiles(NestedSecretsSettingsSource, _TextOnFault):
    """A folder with one file a setting, named as its environment variable, in any case."""
