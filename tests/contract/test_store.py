"""What every store promises the engine: one suite, passed by the one in memory and by PostgreSQL."""

# ruff: noqa: PT012 - what raises is the transaction, and its block has to be inside

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from store_backends import BACKENDS, LEASE_SECONDS, Backend

from haulage.domain.chunk import ChunkApplied, ChunkCompensated
from haulage.domain.errors import ConflictError, FencedError, LateAppendError, NotFoundError
from haulage.domain.event import Context, Event, NewEvents
from haulage.domain.identity import chunk_stream
from haulage.domain.operation import (
    OperationPlanned,
    OperationRequested,
    OperationRollingBack,
    PlanningStarted,
    StepStarted,
)
from haulage.domain.ports import Receipt, Request, SavedDispatch, Unit
from haulage.domain.undo import UndoRecord
from haulage.domain.work import Claim, Task, Work

ONE, TWO = UUID("0198a000-0000-7000-8000-000000000001"), UUID("0198a000-0000-7000-8000-000000000002")
CONTEXT = Context(operation=ONE, tenant="acme", kind="import-users", actor="ada")

REQUESTED = OperationRequested(definition_version=1, parameters_digest="d1")
PLANNED = OperationPlanned(items=30, blocks=1, manifest_digest="m1", steps=("import",), chunk_items=10)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    made = BACKENDS[request.param](request.getfixturevalue)
    yield made
    if close := getattr(made, "close", None):
        close()


class LeaveError(Exception):
    """Raised to leave a transaction without committing it."""


def append(backend: Backend, stream: UUID, after: int, *events: Event) -> None:
    with backend.store.begin() as unit:
        unit.append([NewEvents(stream, after, events, CONTEXT)])


def topics(backend: Backend, stream: UUID = ONE) -> list[str]:
    return [recorded.event.topic for recorded in backend.store.stream(stream)]


# -- streams -----------------------------------------------------------------------------------------------------------
def test_what_was_appended_comes_back_in_order_with_its_envelope(backend: Backend) -> None:
    append(backend, ONE, 0, REQUESTED, PlanningStarted())
    append(backend, ONE, 2, PLANNED)

    stream = backend.store.stream(ONE)

    assert [recorded.event for recorded in stream] == [REQUESTED, PlanningStarted(), PLANNED]
    assert [recorded.version for recorded in stream] == [1, 2, 3]
    assert {recorded.context for recorded in stream} == {CONTEXT}
    assert len({recorded.id for recorded in stream}) == 3
    assert sorted(recorded.position for recorded in stream) == [recorded.position for recorded in stream]


def test_a_stream_nobody_wrote_to_is_empty(backend: Backend) -> None:
    assert list(backend.store.stream(ONE)) == []


def test_nothing_is_visible_before_the_commit_and_all_of_it_after(backend: Backend) -> None:
    with backend.store.begin() as unit:
        unit.append([NewEvents(ONE, 0, (REQUESTED,), CONTEXT)])
        unit.enqueue([apply_work(1)])
        unit.advance("follower", 0, 7)

        assert topics(backend) == []
        assert backend.store.in_flight([ONE]) == {ONE: 0}
        assert backend.store.checkpoint("follower") == 0

    assert topics(backend) == ["operation.requested.v1"]
    assert backend.store.in_flight([ONE]) == {ONE: 1}
    assert backend.store.checkpoint("follower") == 7


def test_nothing_remains_of_a_transaction_that_was_left(backend: Backend) -> None:
    def everything(unit: Unit) -> None:
        unit.append([NewEvents(ONE, 0, (REQUESTED,), CONTEXT)])
        unit.enqueue([apply_work(1)])
        unit.advance("follower", 0, 7)
        unit.add_requests([request(ONE)])
        unit.save_dispatches([SavedDispatch(ONE, {}, due=True)])
        unit.keep_undo(ONE, "import", (1, 10), [UndoRecord(1, {"role": "admin"})])
        unit.participant("notes").write("hello")

    with pytest.raises(LeaveError), backend.store.begin() as unit:
        everything(unit)
        raise LeaveError

    with backend.store.begin() as unit:
        everything(unit)
        assert unit.participant("notes").read() == ["hello"]


@pytest.mark.parametrize("after", [0, 2], ids=["taken", "missing before"])
def test_an_append_that_is_not_the_next_is_a_conflict_and_costs_the_whole_transaction(
    backend: Backend, after: int
) -> None:
    append(backend, ONE, 0, REQUESTED)

    with pytest.raises(ConflictError), backend.store.begin() as unit:
        unit.enqueue([apply_work(1)])
        unit.append([NewEvents(ONE, after, (PlanningStarted(),), CONTEXT)])

    assert topics(backend) == ["operation.requested.v1"]
    assert backend.store.in_flight([ONE]) == {ONE: 0}


def test_one_append_may_write_to_many_streams_and_to_one_of_them_twice(backend: Backend) -> None:
    with backend.store.begin() as unit:
        unit.append(
            [
                NewEvents(ONE, 0, (REQUESTED,), CONTEXT),
                NewEvents(TWO, 0, (REQUESTED,), replace(CONTEXT, operation=TWO)),
                NewEvents(ONE, 1, (PlanningStarted(),), CONTEXT),
            ]
        )
        unit.append([NewEvents(TWO, 1, (PlanningStarted(),), replace(CONTEXT, operation=TWO))])

    assert topics(backend, ONE) == topics(backend, TWO) == ["operation.requested.v1", "operation.planning_started.v1"]


def test_appending_no_events_is_nothing_whatever_the_version(backend: Backend) -> None:
    with backend.store.begin() as unit:
        unit.append([])
        unit.append([NewEvents(ONE, 5, (), CONTEXT)])

    assert topics(backend) == []


def test_a_transaction_older_than_a_streams_last_event_can_not_append_to_it(backend: Backend) -> None:
    with pytest.raises(LateAppendError), backend.store.begin() as early:
        early.advance("follower", 0, 1)
        append(backend, ONE, 0, REQUESTED)
        early.append([NewEvents(ONE, 1, (PlanningStarted(),), CONTEXT)])

    assert topics(backend) == ["operation.requested.v1"]


# -- the log -----------------------------------------------------------------------------------------------------------
def test_the_log_is_read_in_order_from_any_position(backend: Backend) -> None:
    append(backend, ONE, 0, REQUESTED)
    append(backend, TWO, 0, REQUESTED)
    append(backend, ONE, 1, PlanningStarted())

    events = backend.events_after(0, 100, expected=3)

    assert [recorded.stream for recorded in events] == [ONE, TWO, ONE]
    assert list(backend.events_after(events[0].position, 100, expected=2)) == list(events[1:])
    assert list(backend.store.events_after(events[-1].position, 100)) == []
    assert backend.store.head() == events[-1].position


def test_an_empty_log_ends_at_zero(backend: Backend) -> None:
    assert backend.store.head() == 0


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_transactions_are_read_whole_whatever_the_limit(backend: Backend, limit: int) -> None:
    append(backend, ONE, 0, REQUESTED)
    append(backend, TWO, 0, REQUESTED, PlanningStarted(), PLANNED)
    append(backend, ONE, 1, PlanningStarted())
    backend.events_after(0, 100, expected=5)

    position, groups = 0, []
    while events := backend.store.events_after(position, limit):
        groups.append([recorded.stream for recorded in events])
        position = events[-1].position

    assert [stream for group in groups for stream in group] == [ONE, TWO, TWO, TWO, ONE]
    assert all(group.count(TWO) in (0, 3) for group in groups)


def test_what_a_slower_transaction_may_still_slip_in_before_is_not_read_yet(backend: Backend) -> None:
    with backend.store.begin() as slow:
        slow.append([NewEvents(ONE, 0, (REQUESTED,), CONTEXT)])
        append(backend, TWO, 0, REQUESTED)

        assert topics(backend, TWO) == ["operation.requested.v1"]
        assert list(backend.store.events_after(0, 100)) == []
        assert backend.store.head() == backend.store.stream(TWO)[0].position

    events = backend.events_after(0, 100, expected=2)
    assert [recorded.stream for recorded in events] == [ONE, TWO]


def test_a_checkpoint_moves_only_from_where_it_is(backend: Backend) -> None:
    with backend.store.begin() as unit:
        assert not unit.advance("follower", 5, 6)
        assert unit.advance("follower", 0, 5)
        assert not unit.advance("follower", 0, 9)
        assert unit.advance("another", 0, 1)

    with backend.store.begin() as unit:
        assert unit.advance("follower", 5, 5)
        assert unit.advance("follower", 5, 8)

    assert backend.store.checkpoint("follower") == 8
    assert backend.store.checkpoint("another") == 1
    assert backend.store.checkpoint("nobody") == 0


# -- requests and receipts ---------------------------------------------------------------------------------------------
def request(operation: UUID, key: str | None = None, tenant: str = "acme") -> Request:
    return Request(operation, tenant, "import-users", 1, "ada", {"organization": "x"}, {"path": "a.csv"}, key, b"salt")


def test_a_request_is_found_by_operation_and_by_its_tenants_key(backend: Backend) -> None:
    with backend.store.begin() as unit:
        unit.add_requests([request(ONE, "monday"), request(TWO)])

    assert backend.store.request(ONE) == request(ONE, "monday")
    assert backend.store.request(TWO) == request(TWO)
    assert backend.store.requests_by_key([("acme", "monday"), ("other", "monday"), ("acme", "tuesday")]) == {
        ("acme", "monday"): request(ONE, "monday")
    }
    assert backend.store.requests_by_key([]) == {}


def test_an_unknown_operation_is_not_found(backend: Backend) -> None:
    with pytest.raises(NotFoundError, match=str(ONE)):
        backend.store.request(ONE)


@pytest.mark.parametrize("second", [request(ONE), request(TWO, "monday")], ids=["operation", "key"])
def test_an_operation_and_a_tenants_key_are_taken_once(backend: Backend, second: Request) -> None:
    with backend.store.begin() as unit:
        unit.add_requests([request(ONE, "monday")])

    with pytest.raises(ConflictError), backend.store.begin() as unit:
        unit.add_requests([second])


def test_a_key_is_its_tenants_own_and_many_have_none(backend: Backend) -> None:
    with backend.store.begin() as unit:
        unit.add_requests([request(ONE, "monday"), request(TWO, "monday", "other")])
        unit.add_requests([request(uuid4()), request(uuid4())])

    assert backend.store.request(TWO).tenant == "other"


def test_a_command_is_answered_once_and_found_again(backend: Backend) -> None:
    receipt = Receipt(uuid4(), ONE, "pause", {"ok": True, "status": "pausing"})
    with backend.store.begin() as unit:
        unit.add_receipts([receipt])

    assert backend.store.receipts([receipt.command_id, uuid4()]) == {receipt.command_id: receipt}
    with pytest.raises(ConflictError), backend.store.begin() as unit:
        unit.add_receipts([receipt])


# -- dispatches --------------------------------------------------------------------------------------------------------
def test_a_dispatch_is_saved_replaced_and_dropped(backend: Backend) -> None:
    def save(*dispatches: SavedDispatch) -> None:
        with backend.store.begin() as unit:
            unit.save_dispatches(dispatches)

    save(SavedDispatch(ONE, {"n": 1}, due=False), SavedDispatch(TWO, {"n": 2}, due=True))
    save(SavedDispatch(ONE, {"n": [3, None]}, due=True))

    assert backend.store.dispatches([ONE, TWO, uuid4()]) == {
        ONE: SavedDispatch(ONE, {"n": [3, None]}, due=True),
        TWO: SavedDispatch(TWO, {"n": 2}, due=True),
    }
    assert {saved.operation for saved in backend.store.due_dispatches()} == {ONE, TWO}

    save(SavedDispatch(TWO, {"n": 2}, due=False))
    with backend.store.begin() as unit:
        unit.drop_dispatches([ONE, uuid4()])

    assert list(backend.store.due_dispatches()) == []
    assert set(backend.store.dispatches([ONE, TWO])) == {TWO}


# -- work: claiming ----------------------------------------------------------------------------------------------------
def apply_work(first: int, operation: UUID = ONE, priority: int = 0, version: int = 1) -> Work:
    return Work(operation, "acme", "import-users", version, Task.APPLY, "import", first, first + 9, priority=priority)


def enqueue(backend: Backend, *work: Work) -> None:
    with backend.store.begin() as unit:
        unit.enqueue(work)


def finish(backend: Backend, claim: Claim) -> None:
    with backend.store.begin() as unit:
        unit.finish(claim)


def test_work_comes_back_as_it_was_enqueued(backend: Backend) -> None:
    work = replace(apply_work(11, priority=3), attempt=2, chunk_version=4)
    session = backend.begin_session()
    enqueue(backend, work)

    (claim,) = backend.claim(session)

    assert claim.work == work
    assert claim.session == session


def test_urgent_work_goes_first_then_the_oldest(backend: Backend) -> None:
    session = backend.begin_session()
    enqueue(backend, apply_work(1), apply_work(11, priority=5), apply_work(21), apply_work(31, priority=-5))

    claims = backend.claim(session, limit=10)

    assert [claim.work.first for claim in claims] == [11, 1, 21, 31]


def test_no_more_is_claimed_than_was_asked_for_and_nothing_twice(backend: Backend) -> None:
    session = backend.begin_session()
    enqueue(backend, apply_work(1), apply_work(11), apply_work(21))

    first, second = backend.claim(session, limit=2), backend.claim(session, limit=2)

    assert [claim.work.first for claim in (*first, *second)] == [1, 11, 21]
    assert backend.claim(session) == []


def test_only_work_of_known_definitions_is_claimed(backend: Backend) -> None:
    session = backend.begin_session()
    enqueue(backend, apply_work(1, version=2))

    assert backend.claim(session) == []
    assert len(backend.claim(session, definitions=["export-users/2", "import-users/2"])) == 1


def test_what_is_enqueued_already_is_left_as_it_is(backend: Backend) -> None:
    session = backend.begin_session()
    enqueue(backend, apply_work(1))
    (claim,) = backend.claim(session)

    enqueue(backend, apply_work(1, priority=9), apply_work(11), apply_work(11))

    assert [again.work.first for again in backend.claim(session, limit=10)] == [11]
    finish(backend, claim)


def test_the_same_range_is_other_work_for_another_task_step_or_operation(backend: Backend) -> None:
    session = backend.begin_session()
    work = apply_work(1)
    enqueue(
        backend, work, replace(work, task=Task.COMPENSATE), replace(work, step="invite"), replace(work, operation=TWO)
    )

    assert len(backend.claim(session, limit=10)) == 4


# -- work: ownership ---------------------------------------------------------------------------------------------------
@pytest.fixture
def claimed(backend: Backend) -> Claim:
    """A piece of work and who has it."""
    session = backend.begin_session()
    enqueue(backend, apply_work(1))
    (claim,) = backend.claim(session)
    return claim


def test_finished_work_is_gone_and_can_be_enqueued_again(backend: Backend, claimed: Claim) -> None:
    finish(backend, claimed)

    assert backend.store.in_flight([ONE]) == {ONE: 0}
    enqueue(backend, apply_work(1))
    assert len(backend.claim(claimed.session)) == 1


def test_work_finished_in_a_transaction_that_was_left_is_still_the_owners(backend: Backend, claimed: Claim) -> None:
    with pytest.raises(LeaveError), backend.store.begin() as unit:
        unit.finish(claimed)
        raise LeaveError

    finish(backend, claimed)


STOLEN = {
    "another session": lambda claim: replace(claim, session=uuid4()),
    "an earlier epoch": lambda claim: replace(claim, epoch=claim.epoch - 1),
    "no such work": lambda claim: replace(claim, id=claim.id + 1000),
}
USES = {
    "finish": lambda unit, claim: unit.finish(claim),
    "hold": lambda unit, claim: unit.hold(claim),
    "retry": lambda unit, claim: unit.retry(claim, 0.0, 2, 0),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("stolen", STOLEN)
def test_whoever_is_not_the_owner_is_fenced_and_nothing_is_done(
    backend: Backend, claimed: Claim, stolen: str, use: str
) -> None:
    with pytest.raises(FencedError), backend.store.begin() as unit:
        unit.append([NewEvents(ONE, 0, (REQUESTED,), CONTEXT)])
        USES[use](unit, STOLEN[stolen](claimed))

    assert topics(backend) == []
    finish(backend, claimed)


def test_a_held_claim_is_still_the_owners_afterwards(backend: Backend, claimed: Claim) -> None:
    with backend.store.begin() as unit:
        unit.hold(claimed)

    finish(backend, claimed)


def test_work_that_is_given_back_is_claimed_again_when_it_is_due(backend: Backend, claimed: Claim) -> None:
    with backend.store.begin() as unit:
        unit.retry(claimed, 60.0, 2, 1)

    assert backend.claim(claimed.session) == []
    backend.pass_time(60.1)
    (again,) = backend.claim(claimed.session)

    assert again.work == replace(claimed.work, attempt=2, chunk_version=1)
    assert again.epoch > claimed.epoch
    with pytest.raises(FencedError):
        finish(backend, claimed)
    finish(backend, again)


# -- work: holding and withdrawing -------------------------------------------------------------------------------------
def set_held(backend: Backend, held: bool) -> None:
    with backend.store.begin() as unit:
        unit.set_held([ONE], held)


def test_held_work_is_not_claimed_until_it_is_released(backend: Backend) -> None:
    session = backend.begin_session()
    enqueue(backend, apply_work(1), apply_work(1, operation=TWO))

    set_held(backend, True)
    assert [claim.work.operation for claim in backend.claim(session, limit=10)] == [TWO]

    set_held(backend, False)
    assert [claim.work.operation for claim in backend.claim(session, limit=10)] == [ONE]


def test_what_is_claimed_is_neither_held_nor_withdrawn(backend: Backend, claimed: Claim) -> None:
    enqueue(backend, apply_work(11), apply_work(21, operation=TWO))
    with backend.store.begin() as unit:
        unit.set_held([ONE], True)
        unit.withdraw([ONE])

    finish(backend, claimed)

    assert [claim.work.first for claim in backend.claim(claimed.session, limit=10)] == [21]


def test_in_flight_is_what_is_claimed_or_can_be(backend: Backend, claimed: Claim) -> None:
    enqueue(backend, apply_work(11), apply_work(1, operation=TWO))

    assert backend.store.in_flight([ONE, TWO, uuid4()])[ONE] == 2
    assert backend.store.in_flight([TWO]) == {TWO: 1}

    set_held(backend, True)
    assert backend.store.in_flight([ONE]) == {ONE: 1}

    finish(backend, claimed)
    assert backend.store.in_flight([ONE]) == {ONE: 0}


def test_work_given_back_after_the_hold_can_be_claimed_and_so_is_in_flight(backend: Backend, claimed: Claim) -> None:
    set_held(backend, True)
    with backend.store.begin() as unit:
        unit.retry(claimed, 60.0, 2, 0)

    assert backend.store.in_flight([ONE]) == {ONE: 1}

    set_held(backend, True)
    assert backend.store.in_flight([ONE]) == {ONE: 0}


# -- sessions ----------------------------------------------------------------------------------------------------------
def test_while_a_worker_lives_its_claims_are_its_own(backend: Backend, claimed: Claim) -> None:
    assert backend.reap() == 0

    finish(backend, claimed)


def test_the_claims_of_a_killed_worker_are_given_to_another(backend: Backend, claimed: Claim) -> None:
    backend.kill(claimed.session)

    assert backend.reap() == 1
    (again,) = backend.claim(backend.begin_session())

    assert again.work == claimed.work
    with pytest.raises(FencedError):
        finish(backend, claimed)
    finish(backend, again)


def test_the_claims_of_a_worker_whose_lease_has_run_out_are_given_to_another(backend: Backend, claimed: Claim) -> None:
    backend.pass_time(LEASE_SECONDS + 1)

    assert backend.reap() == 1
    (again,) = backend.claim(backend.begin_session())

    with pytest.raises(FencedError):
        finish(backend, claimed)
    finish(backend, again)


def test_a_claim_made_for_a_session_that_was_ended_is_given_back(backend: Backend) -> None:
    session = backend.begin_session()
    backend.kill(session)
    backend.reap()
    enqueue(backend, apply_work(1))
    assert len(backend.claim(session)) == 1

    assert backend.reap() == 1
    assert len(backend.claim(backend.begin_session())) == 1


def test_a_worker_that_leaves_in_good_order_gives_its_claims_back_at_once(backend: Backend, claimed: Claim) -> None:
    another = backend.begin_session()

    backend.end_session(claimed.session)

    assert len(backend.claim(another)) == 1


# -- undo records, participants, items ---------------------------------------------------------------------------------
def test_undo_records_come_back_as_they_were_kept(backend: Backend) -> None:
    records = [UndoRecord(3, {"role": "admin", "name": "Ä"}), UndoRecord(7, {"role": None})]
    with backend.store.begin() as unit:
        digest = unit.keep_undo(ONE, "import", (1, 10), records)

    with backend.store.begin() as unit:
        kept = unit.load_undo(ONE, "import", (1, 10))
        assert [(record.ordinal, dict(record.before)) for record in kept] == [(r.ordinal, r.before) for r in records]
        assert list(unit.load_undo(ONE, "import", (11, 20))) == []
        assert list(unit.load_undo(TWO, "import", (1, 10))) == []
    assert digest is not None
    assert len(bytes.fromhex(digest)) == 32


def test_without_undo_records_there_is_no_digest(backend: Backend) -> None:
    with backend.store.begin() as unit:
        assert unit.keep_undo(ONE, "import", (1, 10), []) is None


def test_what_a_participant_does_is_part_of_the_transaction(backend: Backend) -> None:
    with pytest.raises(LeaveError), backend.store.begin() as unit:
        unit.participant("notes").write("lost")
        raise LeaveError
    with backend.store.begin() as unit:
        unit.participant("notes").write("kept")

    with backend.store.begin() as unit:
        assert unit.participant("notes").read() == ["kept"]


def test_items_are_read_by_their_ordinals(backend: Backend) -> None:
    contents = [{"name": f"n{n}"} for n in range(1, 6)]
    backend.stage(ONE, contents)

    items = backend.store.items(ONE, 2, 4)

    assert (items.first, list(items.contents)) == (2, contents[1:4])
    assert list(backend.store.items(ONE, 5, 5).contents) == contents[4:]


# -- what was applied --------------------------------------------------------------------------------------------------
def apply_chunk(backend: Backend, first: int) -> None:
    stream = chunk_stream(ONE, "import", first, first + 9)
    append(backend, stream, 0, ChunkApplied(step="import", first=first, last=first + 9))


def test_applied_chunks_are_told_newest_first_without_those_compensated(backend: Backend) -> None:
    append(backend, ONE, 0, REQUESTED, PlanningStarted(), PLANNED, StepStarted(step="import"))
    for first in (1, 21, 11):
        apply_chunk(backend, first)
    append(backend, ONE, 4, OperationRollingBack())
    compensated = ChunkCompensated(step="import", first=21, last=30)
    append(backend, chunk_stream(ONE, "import", 21, 30), 1, compensated)
    backend.ledger_catches_up()
    head = backend.store.head()

    found = backend.store.applied_chunks(ONE, "import", head, 10, head)
    assert found is not None
    assert [(chunk.first, chunk.last) for chunk in found] == [(11, 20), (1, 10)]

    assert backend.store.applied_chunks(ONE, "import", head, 1, head) == list(found[:1])
    assert backend.store.applied_chunks(ONE, "import", found[0].position, 10, head) == list(found[1:])
    assert backend.store.applied_chunks(ONE, "invite", head, 10, head) == []
    assert backend.store.applied_chunks(TWO, "import", head, 10, head) == []


def test_while_the_ledger_is_behind_nobody_says_what_was_applied(backend: Backend) -> None:
    append(backend, ONE, 0, REQUESTED, PlanningStarted(), PLANNED, StepStarted(step="import"))
    backend.ledger_catches_up()
    apply_chunk(backend, 1)

    assert backend.store.applied_chunks(ONE, "import", 2**62, 10, backend.store.head()) is None
