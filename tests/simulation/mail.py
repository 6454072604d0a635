"""The bus, as the intake sees it: deliveries repeated until acknowledged, in any order, some more than once."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from uuid import UUID

from haulage.sagas.intake import Answer, Submitted
from simulation.history import require


@dataclass(slots=True)
class Delivery:
    """A command under way."""

    submitted: Submitted
    acknowledged: bool = False


class Mailbox:
    """All deliveries, and what was answered."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.answers: dict[UUID, Answer] = {}

    def post(self, submitted: Submitted) -> None:
        """A command is sent."""
        self.deliveries.append(Delivery(submitted))

    def redeliver(self, random: Random) -> None:
        """Something that was acknowledged long ago comes once more."""
        if done := [delivery for delivery in self.deliveries if delivery.acknowledged]:
            random.choice(done).acknowledged = False

    def waiting(self) -> list[Delivery]:
        """What nobody has acknowledged."""
        return [delivery for delivery in self.deliveries if not delivery.acknowledged]

    def take(self, random: Random) -> list[Delivery]:
        """Up to three deliveries, in any order."""
        waiting = self.waiting()
        return random.sample(waiting, min(len(waiting), random.randint(1, 3)))

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """They won't come again by themselves."""
        for delivery in deliveries:
            delivery.acknowledged = True

    def answered(self, deliveries: Sequence[Delivery], answers: Sequence[Answer]) -> None:
        """The senders are told. A yes is the same yes every time.

        A no is not for ever: it leaves no receipt, and a redelivery may meet another state.
        """
        for delivery, answer in zip(deliveries, answers, strict=True):
            command = delivery.submitted.command.command_id
            before = self.answers.get(command)
            if before is None or not before.ok:
                self.answers[command] = answer
            else:
                require(not answer.ok or answer == before, f"{command} is answered {before}, then {answer}")
