"""Users, under a location's or a company's token."""

from levelgate.highlevel.api.caller import Caller, Entity


class Users:
    """Users, under a location's or a company's token."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, user_id: str) -> Entity:
        """Return a user."""
        return await self._caller.call("users.get-user", path={"userId": user_id})
