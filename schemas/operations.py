"""The operations of HighLevel's API, as its documents have them: what the client must know to call one.

Reads this package's own data only, at the first look-up.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.resources import files
from typing import Literal

import msgspec


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation; its id is `family.operation-id`, e.g. `contacts.get-contact`."""

    id: str
    family: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    """With its parameters in braces: `/contacts/{contactId}`."""
    version: str | None = None
    """What the documents want in the `Version` header; None: they name none."""
    token: Literal["Location", "Agency", "either", "none", "unknown"]
    """Level of the access token it takes, as far as the documents say."""
    scopes: tuple[str, ...] = ()
    """Empty where the documents are silent."""
    pagination: str | None = None
    """Style of its paging, e.g. `skip + limit` or `cursor: searchAfter or page`; None: it has none."""
    content_type: str | None = None
    """Of the request's body; None: it takes none."""
    deprecated: bool = False

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing: a GET, or a POST that the vendor lets those make who may only read (a search)."""
        if self.method == "POST":
            return bool(self.scopes) and all(scope.endswith(".readonly") for scope in self.scopes)
        return self.method == "GET"


class _Document(msgspec.Struct):
    operations: tuple[Operation, ...]


class _Operations(Mapping[str, Operation]):
    """All operations by id, read when first asked for."""

    @cached_property
    def _by_id(self) -> dict[str, Operation]:
        data = files("schemas").joinpath("data/operations.json").read_bytes()
        return {operation.id: operation for operation in msgspec.json.decode(data, type=_Document).operations}

    def __getitem__(self, operation_id: str) -> Operation:
        return self._by_id[operation_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_id)

    def __len__(self) -> int:
        return len(self._by_id)


OPERATIONS: Mapping[str, Operation] = _Operations()
"""Every documented operation by its id."""
