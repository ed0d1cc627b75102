"""Who has borrowed what, and until when."""

from dataclasses import dataclass
from datetime import date, timedelta

from books import Catalogue

LOAN_DAYS = 28


class NotAvailable(Exception):
    """All copies of the book are out."""


@dataclass(frozen=True)
class Loan:
    """One copy of a book in the hands of a member."""

    title: str
    member: str
    due: date

    def is_overdue(self, today: date) -> bool:
        return self.due < today

    def days_left(self, today: date) -> int:
        return (self.due - today).days


class Desk:
    """Lends books of a catalogue and takes them back."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.loans: list[Loan] = []

    def lend(self, title: str, member: str, today: date) -> Loan:
        """Raises NotAvailable if no copy is left."""
        book = self.catalogue.get(title)
        if len(self.loans_of_book(title)) >= book.copies:
            raise NotAvailable(title)
        loan = Loan(title=title, member=member, due=today + timedelta(days=LOAN_DAYS))
        self.loans.append(loan)
        return loan

    def take_back(self, loan: Loan) -> None:
        """Raises ValueError if the loan is unknown."""
        if loan not in self.loans:
            raise ValueError(f"unknown loan: {loan}")
        self.loans.remove(loan)

    def loans_of_book(self, title: str) -> list[Loan]:
        return [loan for loan in self.loans if loan.title == title]

    def loans_of_member(self, member: str) -> list[Loan]:
        return [loan for loan in self.loans if loan.member == member]

    def overdue(self, today: date) -> list[Loan]:
        return [loan for loan in self.loans if loan.is_overdue(today)]
