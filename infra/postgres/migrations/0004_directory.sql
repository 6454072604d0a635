-- The reference directory: organizations, their members, and the users these are.
--
-- Follow one user through these tables. An organization is a row in directory.organizations, made by hand. An import
-- copies a chunk of users into directory.users and their memberships into directory.memberships, in the transaction
-- that records the chunk. A user's id follows from operation and item (domain/directory.py), and created_by names the
-- operation. Rolling the import back deletes the range of ids, but only users that are still at version 1: whoever
-- changes a row, by whatever way, makes a trigger count its version up. An import with on_conflict=update writes its
-- operation into changed_by, by which a second row of the same file with the same e-mail is told from a first.
--
-- Versions never come back, not even when a rollback gives a row its old values again: who has read version 2 must not
-- take another version 2 for it.
--
-- There are no foreign keys from memberships to users and organizations. Their triggers run once per row, which costs
-- more than the COPY itself, and the rows go in by the million. Instead the transaction that adds a chunk holds the
-- organization's row FOR KEY SHARE, so that it can't vanish meanwhile, and writes users and memberships together.
-- What other writers leave dangling is found by a check of the whole directory, not here.
--
-- The indexes are as few as will do, since every one slows an import down. Ids ascend within an operation and from one
-- to the next, so three of four grow at their end; only e-mails come in any order. Comparing them bytewise, after
-- PostgreSQL's own lower(), does not depend on the libraries of the operating system, whose updates have broken indexes.

create schema directory;

create table directory.organizations (
    id         uuid        primary key default uuidv7(),
    slug       text        not null constraint organizations_slug unique check (slug ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    name       text        not null,
    created_at timestamptz not null default now()
);

create table directory.users (
    id          uuid        primary key,
    email       text        not null,
    name        text        not null,
    external_id text,
    locale      text,
    department  text,
    version     integer     not null default 1,
    -- The operation that created it, and the last one that changed it; null where a person or program did directly.
    created_by  uuid,
    changed_by  uuid,
    created_at  timestamptz not null default now()
);
-- An e-mail belongs to one user, whatever its case.
create unique index users_email on directory.users (lower(email collate "pg_c_utf8"));

create table directory.memberships (
    user_id         uuid    not null,
    organization_id uuid    not null,
    role            text    not null check (role in ('owner', 'admin', 'member', 'viewer')),
    version         integer not null default 1,
    primary key (user_id, organization_id)
);
create index memberships_by_organization on directory.memberships (organization_id, user_id);

create function directory.count_change() returns trigger language plpgsql as $$
begin
    new.version := old.version + 1;
    return new;
end
$$;

create trigger users_count_change before update on directory.users
    for each row execute function directory.count_change();
create trigger memberships_count_change before update on directory.memberships
    for each row execute function directory.count_change();

grant usage on schema directory to {app_role};
grant select, insert, update, delete on directory.organizations, directory.users, directory.memberships to {app_role};
