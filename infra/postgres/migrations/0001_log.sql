-- The log: every event of every operation, in one order, for ever.
--
-- Follow one chunk of an import through it. A worker opens a transaction, copies a thousand users into their table
-- and calls haulage.append with one event: stream 5f2c…, version 1, topic chunk.applied.v1. The append takes the
-- shared side of an advisory lock (nobody may raise the offset now), learns the transaction's id, say 7301, and
-- writes the row with the position (7301 + offset) * 2^20 + 0. A second append of the same transaction would get
-- ordinal 1, and so on; the next ordinal is a transaction-local setting, so a rollback to a savepoint gives the
-- ordinals back together with the rows. Until the worker commits, nobody sees any of it.
--
-- A follower asks for the events after the last position it knows and below haulage.horizon(): the oldest
-- transaction still open, as a position. Worker 7299 may still be at work when 7301 commits; then the horizon is
-- 7299 * 2^20 and the follower does not see 7301's event yet. Once 7299 has ended, both are below the horizon,
-- and nothing can ever appear below them again: whoever writes later has a higher transaction id. So writers never
-- wait for each other and followers never skip an event.
--
-- Positions follow the order in which transactions first wrote. A transaction that wrote early and appends late
-- could put version 2 of a stream before version 1; such an append is refused (SQLSTATE 40L01: start over in a new
-- transaction). An append whose version before is missing is refused with 23L01; one whose version is taken violates
-- events_pkey: somebody else was first, or we ourselves were and the answer was lost. The event's id in `state` tells.
--
-- haulage.history is one row: what is added to transaction ids, since they start over in a restored or re-created
-- cluster, and where this history lives: the cluster, its timeline, the table. If it is not where it was (a dump was
-- restored, a standby promoted, a backup recovered to an earlier point), appends are refused with 55L01 until
-- haulage.settle has raised the offset above everything anybody can have seen, and has begun a new epoch, which
-- every message on the bus carries.
--
-- haulage.checkpoints holds the last position each subscription has completed, written in the transaction of its
-- effects. haulage.snapshots holds folded states of long streams; it may be emptied at any time.

create table haulage.events (
    originator_id      uuid        not null,
    originator_version bigint      not null check (originator_version >= 0),
    topic              text        not null,
    state              bytea       not null,
    notification_id    bigint      not null,
    recorded_at        timestamptz not null default clock_timestamp(),
    constraint events_pkey primary key (originator_id, originator_version),
    constraint events_notification_id_key unique (notification_id)
);
comment on table haulage.events is 'The log. Append only: rows are never changed or removed.';
comment on column haulage.events.originator_id is 'The stream.';
comment on column haulage.events.notification_id is
    'The position: (transaction id + offset) * 2^20 + ordinal within the transaction.';

-- Where this history lives. The table's own oid is part of it, since a restored dump brings a new table: that tells a
-- dump restored into the same cluster, whose identifier and timeline have not changed.
create function haulage.whereabouts() returns text
    language sql stable
    return (pg_control_system()).system_identifier
        || '/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
        || '/' || 'haulage.events'::regclass::oid;

create table haulage.history (
    only_row    boolean     primary key default true check (only_row),
    xid_offset  bigint      not null default 0 check (xid_offset >= 0),
    -- Milliseconds since 1970 when this history began, so that no two histories have the same epoch.
    epoch       bigint      not null default (extract(epoch from clock_timestamp()) * 1000)::bigint,
    whereabouts text        not null default haulage.whereabouts(),
    settled_at  timestamptz not null default clock_timestamp()
);
insert into haulage.history default values;

-- Stable, so that it sees the snapshot of the statement that calls it. A volatile function would take a newer one,
-- and the line would run ahead of what the statement sees: a follower would skip events.
create function haulage.horizon() returns bigint
    language sql stable
    return (
        select (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + xid_offset) * 1048576 from haulage.history
    );

-- Appends events, of any number of streams, in the caller's transaction; the arrays run in parallel. Returns their
-- positions, in order.
create function haulage.append(streams uuid[], versions bigint[], topics text[], states bytea[])
    returns bigint[]
    language plpgsql
    -- Planning anew would cost more than the append itself; and a plan made while the table was small would scan it,
    -- for as long as the session lives.
    set plan_cache_mode = force_generic_plan
    set enable_seqscan = off
as $$
declare
    -- "HAULAGE" as ASCII; the same number in haulage.settle.
    offset_lock constant bigint := 20338032930539333;
    history haulage.history;
    events  integer := cardinality(streams);
    ordinal bigint;
    first   bigint;
    refused record;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise 'an append needs a transaction at READ COMMITTED, this one is at %',
            upper(current_setting('transaction_isolation')) using errcode = '25001';
    end if;
    -- Keeps the offset until this transaction ends. Taken before the transaction id, so that nobody's line is held
    -- back while we wait; the offset is read by a later statement, so that it is the one that the lock protects.
    perform pg_advisory_xact_lock_shared(offset_lock);
    select * into history from haulage.history;
    if history.whereabouts is distinct from haulage.whereabouts() then
        raise 'this history was restored or failed over and has not been settled since'
            using errcode = '55L01', detail = history.whereabouts || ' -> ' || haulage.whereabouts();
    end if;

    ordinal := coalesce(nullif(current_setting('haulage.next_ordinal', true), ''), '0');
    if ordinal + events > 1048576 then
        raise 'one transaction can append 1048576 events, this one would reach %', ordinal + events
            using errcode = '54000';
    end if;
    first := (pg_current_xact_id()::text::bigint + history.xid_offset) * 1048576 + ordinal;
    perform set_config('haulage.next_ordinal', (ordinal + events)::text, true);

    -- In the order of streams, so that two appends to the same streams wait for each other rather than deadlock.
    insert into haulage.events (originator_id, originator_version, topic, state, notification_id)
    select stream, version, topic, state, first + place - 1
    from unnest(streams, versions, topics, states) with ordinality as new (stream, version, topic, state, place)
    order by stream, version;

    -- Streams begin with version 1 (only the event library's own tests begin with 0), and most events begin a stream.
    if 1 < any (versions) then
        -- Rows never go away, so a version before that is there now was there all along or is of this call.
        select new.stream, new.version, before.position into refused
        from unnest(streams, versions) with ordinality as new (stream, version, place)
        cross join lateral (
            select (
                select notification_id from haulage.events
                where originator_id = new.stream and originator_version = new.version - 1
            ) as position
        ) as before
        where before.position >= first + new.place - 1 or (before.position is null and new.version > 1)
        limit 1;
        if found and refused.position is null then
            raise 'version % of stream % has no version before it', refused.version, refused.stream
                using errcode = '23L01';
        elsif found then
            raise 'version % of stream % comes late: this transaction is older than the version before',
                refused.version, refused.stream using errcode = '40L01';
        end if;
    end if;
    -- One event is the usual case, and needs no query.
    if events = 1 then
        return array[first];
    end if;
    return array(select first + i from generate_series(0, events - 1) as i);
end
$$;

-- Makes sure that new positions lie above all that were ever handed out: the stored ones, and `above`, the last one
-- published on the bus. Does nothing where that is so. Else it waits for the writers, raises the offset, begins a new
-- epoch, and returns true. Runs with the owner's rights, since the application may not write the row otherwise;
-- the offset only ever rises.
create function haulage.settle(above bigint default null)
    returns boolean
    language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    offset_lock constant bigint := 20338032930539333;
    -- Transactions left out beyond what is known. Somebody may have seen more than was stored or published when the
    -- database was lost: a query's reader, a bus that cannot be asked now. 2^32 is days of any cluster's transactions,
    -- and positions last for 2,000 such gaps.
    gap constant bigint := 4294967296;
    last bigint;
    oldest bigint;
begin
    for attempt in 1..2 loop
        -- Asked before the next transaction id, which can only have grown since: what is visible lies below it.
        select max(notification_id) into last from haulage.events;
        if (select whereabouts = haulage.whereabouts() from haulage.history)
            and (last < (select (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + xid_offset) * 1048576
                        from haulage.history)) is not false
            and (above < haulage.horizon()) is not false
        then
            return false;
        end if;
        -- The second look is under the lock: another process may have settled it meanwhile.
        perform pg_advisory_xact_lock(offset_lock);
    end loop;
    if greatest(last, above) >= (1::bigint << 62) then
        -- No log has ever given it out; raising the offset above it would leave no positions.
        raise 'the position % is not one of a log', greatest(last, above) using errcode = '22003';
    end if;
    -- A transaction that is open now may append after us: its id counts, not ours.
    oldest := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
    update haulage.history set
        xid_offset = greatest(xid_offset, (greatest(last, above, 0) >> 20) + 1 - oldest, 0) + gap,
        epoch = greatest(epoch + 1, (extract(epoch from clock_timestamp()) * 1000)::bigint),
        whereabouts = haulage.whereabouts(),
        settled_at = clock_timestamp();
    return true;
end
$$;

-- The oldest open transaction that has written, anywhere in the cluster: it holds the horizon back. No row when there
-- is none. Runs with the owner's rights, since the application does not see other roles' sessions.
create function haulage.horizon_holder()
    returns table (seconds double precision, pid integer, application_name text, database text)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select extract(epoch from clock_timestamp() - began)::double precision, holder.pid, name, holder.database
    from (
        select backend_xid as xid, xact_start as began, a.pid, a.application_name as name, a.datname as database
        from pg_stat_activity a where backend_xid is not null
        union all
        select transaction, prepared, null, 'prepared transaction ' || gid, p.database from pg_prepared_xacts p
    ) as holder
    order by age(xid) desc limit 1;
end;

create function haulage.refuse_change() returns trigger
    language plpgsql
as $$
begin
    raise 'the log is append-only: % of %.% is refused', tg_op, tg_table_schema, tg_table_name using errcode = '42501';
end
$$;

create trigger events_are_append_only
    before update or delete or truncate on haulage.events
    for each statement execute function haulage.refuse_change();
-- Also where session_replication_role would switch ordinary triggers off.
alter table haulage.events enable always trigger events_are_append_only;

-- The columns of checkpoints and snapshots are the event library's.
create table haulage.checkpoints (
    application_name text   primary key,
    notification_id  bigint not null
);
comment on column haulage.checkpoints.application_name is 'The subscription.';

create type haulage.stored_event_uuid as (originator_id uuid, originator_version bigint, topic text, state bytea);

create table haulage.snapshots (
    originator_id      uuid   not null,
    originator_version bigint not null,
    topic              text   not null,
    state              bytea  not null,
    primary key (originator_id, originator_version)
);

revoke execute on all functions in schema haulage from public;

grant usage on schema haulage to {app_role};
grant select on haulage.events, haulage.history to {app_role};
-- Not recorded_at: that is the database's clock and nobody else's.
grant insert (originator_id, originator_version, topic, state, notification_id) on haulage.events to {app_role};
grant execute on function haulage.append, haulage.horizon, haulage.horizon_holder, haulage.settle,
    haulage.whereabouts to {app_role};
grant select, insert, update, delete on haulage.checkpoints to {app_role};
grant select, insert, delete on haulage.snapshots to {app_role};
