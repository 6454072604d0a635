-- The engine: what is to be done, who is doing it, and what was asked for.
--
-- Follow one import through these tables. Its command arrives with a command id. The intake puts a row into
-- haulage.inbox (a repeat of the command finds the reply there), one into haulage.operations (the parameters, which
-- may hold personal data, so they are not in the log and can be redacted), one into haulage.work: plan this. The
-- event operation.requested is appended in the same transaction; only then is the command acknowledged.
--
-- A worker is a session: a row in haulage.sessions, with the backend of one direct connection and a lease on the
-- database's clock. It claims the work row by writing its session and the next epoch into it, reads the file, stages
-- the items, and in one last transaction appends operation.planned and deletes the row, as that session and epoch:
-- a worker that was frozen meanwhile, and whose work was handed on, deletes nothing, and its transaction fails.
--
-- The process manager reads the log and keeps one row per operation in haulage.dispatch: how far the present step is
-- enqueued, how much of it is applied. It puts at most a window of chunks of each operation into haulage.work and
-- tops it up as chunk.applied events come in. So the table stays small whatever the size of the operations, and
-- claiming stays fast. A failed attempt leaves its row with a later due_at; a pause sets `held` on the rows nobody has
-- claimed.
--
-- When a session dies its backend is gone, which is seen at once; when its host dies its lease runs out. Whoever
-- notices (each worker looks several times a second) ends what is left of its backends, gives its claims back and
-- deletes the row. The session, should it come back, finds itself gone and begins a new one.

create table haulage.operations (
    operation          uuid        primary key,
    tenant             text        not null,
    kind               text        not null,
    definition_version integer     not null,
    actor              text        not null,
    key                text,
    -- Redactable; operation.requested has the digest of parameters and input, salted with `salt`.
    parameters         jsonb       not null,
    input              jsonb,
    salt               bytea       not null,
    requested_at       timestamptz not null default clock_timestamp(),
    constraint operations_tenant_key unique (tenant, key)
);

create table haulage.inbox (
    command_id  uuid        primary key,
    operation   uuid        not null,
    verb        text        not null,
    reply       jsonb       not null,
    received_at timestamptz not null default clock_timestamp()
);
create index inbox_received_at on haulage.inbox (received_at);

create table haulage.sessions (
    session          uuid        primary key,
    role             text        not null,
    -- All connections of the process bear this name, so that they can be found and ended.
    application_name text        not null,
    backend          integer     not null,
    backend_start    timestamptz not null,
    host             text        not null,
    process          integer     not null,
    definitions      text[]      not null,
    started_at       timestamptz not null default clock_timestamp(),
    lease_until      timestamptz not null
);

create table haulage.work (
    id                 bigint      generated always as identity primary key,
    operation          uuid        not null,
    tenant             text        not null,
    -- Kind and version, such as import-users/1: a worker claims only what it has the definition of.
    definition         text        not null,
    task               text        not null check (task in ('plan', 'apply', 'compensate')),
    step               text        not null,
    first              bigint      not null,
    last               bigint      not null,
    priority           integer     not null,
    attempt            integer     not null default 1,
    chunk_version      bigint      not null default 0,
    due_at             timestamptz not null default clock_timestamp(),
    held               boolean     not null default false,
    owner              uuid,
    epoch              integer     not null default 0,
    constraint work_once unique (operation, task, step, first, last)
) with (
    -- Small and busy: rows live for less than a second. Dead ones must go quickly, or claiming wades through them.
    autovacuum_vacuum_threshold = 200,
    autovacuum_vacuum_scale_factor = 0.1,
    autovacuum_vacuum_cost_delay = 0
);
create index work_claimable on haulage.work (priority desc, id) where owner is null and not held;
create index work_owner on haulage.work (owner) where owner is not null;

create table haulage.dispatch (
    operation uuid    primary key,
    state     jsonb   not null,
    -- To be looked at although no event is new: a pause that waits for the work in flight, a decision to be made again.
    due       boolean not null
);
create index dispatch_due on haulage.dispatch (operation) where due;

-- Whether a direct backend still is the one a session registered. With the owner's rights, since one application's
-- role may not look into the sessions of another's.
create function haulage.dead_sessions()
    returns table (session uuid, application_name text)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select s.session, s.application_name from haulage.sessions s
    where s.lease_until < clock_timestamp()
        or not exists (
            select from pg_stat_activity a where a.pid = s.backend and a.backend_start = s.backend_start
        );
end;

revoke execute on function haulage.dead_sessions from public;
grant execute on function haulage.dead_sessions to {app_role};
grant select, insert, update on haulage.operations to {app_role};
grant select, insert, delete on haulage.inbox to {app_role};
grant select, insert, update, delete on haulage.sessions, haulage.work, haulage.dispatch to {app_role};
