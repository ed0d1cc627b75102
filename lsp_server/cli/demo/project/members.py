"""The members of the library, and what they pay."""

from dataclasses import dataclass

YEARLY_FEE = 1200
YOUTH_FEE = 600


@dataclass
class Member:
    """A person with a library card."""

    name: str
    email: str
    age: int
    is_active: bool = True

    def fee(self) -> int:
        """What a year costs, in cents."""
        if self.age < 18:
            return YOUTH_FEE
        return YEARLY_FEE


class Register:
    """All members, found by name."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}

    def __len__(self) -> int:
        return len(self._members)

    def add(self, member: Member) -> None:
        if member.name in self._members:
            raise ValueError(f"member already exists: {member.name}")
        self._members[member.name] = member

    def get(self, name: str) -> Member:
        if name not in self._members:
            raise KeyError(f"unknown member: {name}")
        return self._members[name]

    def remove(self, name: str) -> None:
        if name not in self._members:
            raise KeyError(f"unknown member: {name}")
        del self._members[name]

    def active(self) -> list[Member]:
        return [member for member in self._members.values() if member.is_active]

    def total_fees(self) -> int:
        total = 0
        for member in self.active():
            total += member.fee()
        return total
