"""By what an operator chooses among parked or dead pairs. A value, no SQL."""

from datetime import datetime
from typing import Any

import msgspec


class PairFilter(msgspec.Struct, frozen=True):
    """Which pairs are meant: those that fit each of its fields that is set; of an empty one, all."""

    app: str | None = None
    tenant: str | None = None
    type: str | None = None
    handler: str | None = None
    error: str | None = None
    """The class of the last failure."""
    run: str | None = None
    """`live`, or a replay's id."""
    since: datetime | None = None
    """Parked, or given up, at that time or later."""
    until: datetime | None = None
    deliveries: tuple[str, ...] = ()

    def parameters(self) -> dict[str, Any]:
        """Return the fields as the statements of `parking.sql` and `dead_letters.sql` take them."""
        return msgspec.structs.asdict(self) | {"deliveries": list(self.deliveries) or None}


ALL_PAIRS = PairFilter()
