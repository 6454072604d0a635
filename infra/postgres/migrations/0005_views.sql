-- The views: what people look at. Everything here is made from the log and can be made again.
--
-- Follow one import through them. Its operation.requested puts a row into haulage.progress; each chunk.applied adds to
-- that row's counts and moves its pace, operation.completed gives it its end. The list of operations is this table, in
-- the order in which they were requested. The same chunk.applied is a row of haulage.ledger: which items, and those
-- that were skipped or rejected by name; all others of the range succeeded. What happened to item 4,711 is the row of
-- the step with the greatest `first` up to 4,711. A later chunk.compensated is noted in that row. haulage.timeline has
-- a row for each event of the operation, and one for all events of its chunks that are alike.
--
-- A projector reads the checkpoint of a view (haulage.checkpoints, under the view's name) and the events after it,
-- works out the rows, and then, in one transaction, moves the checkpoint from where it was and writes the rows. Two
-- projectors do no harm: the second one finds the checkpoint moved, and drops its rows.
--
-- To rebuild a view its rows are emptied, its checkpoint goes back to 0, and its `generation` in haulage.projections
-- goes up, in one transaction. So what a projector had read before is dropped too, even if by then the checkpoint has
-- come back to the same position. Where a view meets an event that it cannot take in, it stops there: the row says
-- since when, at which position and why. The other views go on.

create table haulage.projections (
    name             text        primary key,
    generation       bigint      not null default 0,
    stopped_position bigint,
    stopped_error    text,
    stopped_at       timestamptz,
    constraint projections_stop_is_whole check (num_nulls(stopped_position, stopped_error, stopped_at) in (0, 3))
);
comment on column haulage.projections.generation is 'How often the view was emptied to be rebuilt.';
comment on column haulage.projections.stopped_position is 'The event that the view cannot take in; null while it goes on.';

create table haulage.progress (
    operation          uuid             primary key,
    tenant             text             not null,
    kind               text             not null,
    actor              text             not null,
    definition_version integer          not null,
    priority           integer          not null,
    requested_at       timestamptz      not null,
    updated_at         timestamptz      not null,
    position           bigint           not null,
    started_at         timestamptz,
    ended_at           timestamptz,
    status             text             not null,
    steps              jsonb            not null,
    step               text,
    total              bigint,
    succeeded          bigint           not null,
    skipped            bigint           not null,
    rejected           bigint           not null,
    chunks             bigint           not null,
    failed_attempts    bigint           not null,
    splits             bigint           not null,
    applied            bigint           not null,
    compensated        bigint           not null,
    conflicting        bigint           not null,
    error_code         text,
    error              text,
    working_since      timestamptz,
    working_seconds    double precision not null,
    pace               jsonb            not null
) with (
    -- A row changes with every group of events until its operation has ended.
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.05
);
comment on column haulage.progress.position is 'The last event taken in. What changed since a position is found by it.';
comment on column haulage.progress.applied is 'Items of applied chunks over all steps; succeeded, skipped, rejected: of `step`.';
create index progress_position on haulage.progress (position);
-- The list, newest first, page by page: of everybody, of one tenant, of what has not ended.
create index progress_requested on haulage.progress (requested_at, operation);
create index progress_tenant on haulage.progress (tenant, requested_at, operation);
create index progress_open on haulage.progress (requested_at, operation) where ended_at is null;

create table haulage.ledger (
    operation            uuid        not null,
    step                 text        not null,
    first                bigint      not null,
    last                 bigint      not null,
    position             bigint      not null,
    at                   timestamptz not null,
    attempt              integer     not null,
    succeeded            bigint      not null,
    skipped              bigint      not null,
    rejected             bigint      not null,
    exceptions           jsonb       not null,
    compensated_position bigint,
    compensated_at       timestamptz,
    conflicting          jsonb       not null,
    primary key (operation, step, first)
);

create table haulage.timeline (
    operation     uuid        not null,
    position      bigint      not null,
    topic         text        not null,
    step          text        not null,
    at            timestamptz not null,
    actor         text        not null,
    last_position bigint      not null,
    last_at       timestamptz not null,
    condensed     boolean     not null,
    events        bigint      not null,
    detail        jsonb       not null,
    primary key (operation, position)
);

grant select, insert, update on haulage.projections to {app_role};
grant select, insert, update, truncate on haulage.progress, haulage.ledger, haulage.timeline to {app_role};
