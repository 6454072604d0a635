-- The manifest: what an operation is about, item by item, in order; and what its compensations need to know.
--
-- Follow one file through it. A worker opens users.csv, reads the header, and in its first transaction puts a row into
-- haulage.manifests (the columns, the size of the file) and some dozens of rows into haulage.blocks. Block 1 holds the
-- items 1 to 2,000: their contents as one JSON array, compressed with zstd; 16 random bytes of salt for each; the digest
-- over their salted hashes; and how far the file had been read, with the SHA-256 of all that. A few transactions later
-- the worker is killed. Another takes the last block, reads the file's beginning again, finds the same SHA-256, and
-- goes on behind that block. When the file is at its end, the transaction that appends operation.planned also writes the
-- totals and the digest of digests into haulage.manifests: the manifest is sealed. Blocks are never added after that.
--
-- A chunk reads the blocks that overlap it; usually that is one, since chunks and blocks have the same size to begin with.
-- Where an item could not be parsed, its content is a JSON string: a code, a line feed, and the raw text.
--
-- An update overwrites something: what was there before goes into haulage.undo, one row for each chunk, in the
-- transaction of the chunk's effect, and its digest into the event chunk.applied. A compensation reads it from there.
--
-- Erasing a person: her item's content becomes null in the JSON, its salt zeros, and its leaf hash goes into `erased`
-- (the 32-byte hashes, in the order of the nulls). Every digest still verifies. PostgreSQL keeps the old
-- row's version until a vacuum; infra/postgres/manifest.py says how to be sure.

create table haulage.manifests (
    operation       uuid     primary key,
    format          text     not null,
    -- Null for objects, which have no header. `header` is as in the file, `columns` trimmed and in lower case.
    columns         text[],
    header          text[],
    input_bytes     bigint   not null,
    -- Nanoseconds since 1970; null where the file was a private copy.
    input_modified  bigint,
    -- From here on null until the manifest is sealed.
    items           bigint,
    blocks          bigint,
    manifest_digest bytea    check (length(manifest_digest) = 32),
    input_digest    bytea    check (length(input_digest) = 32)
);

create table haulage.blocks (
    operation    uuid    not null,
    first        bigint  not null check (first >= 1),
    number       bigint  not null check (number >= 1),
    items        integer not null check (items between 1 and 10000),
    -- Compressed already; external keeps PostgreSQL from trying again.
    content      bytea   not null,
    salts        bytea   not null check (length(salts) = 16 * items),
    erased       bytea   not null default '',
    digest       bytea   not null check (length(digest) = 32),
    -- Where the next item begins in the text; how many bytes of the file had been read by then, and their SHA-256.
    position     bigint  not null,
    read         bigint  not null,
    read_digest  bytea   not null check (length(read_digest) = 32),
    constraint blocks_pkey primary key (operation, first)
);
alter table haulage.blocks alter column content set storage external, alter column salts set storage external;

create table haulage.undo (
    operation    uuid     not null,
    step         text     not null,
    first        bigint   not null,
    last         bigint   not null,
    -- Which items of the chunk have an undo record, in the order of the contents.
    ordinals     bigint[] not null,
    content      bytea    not null,
    salts        bytea    not null check (length(salts) = 16 * cardinality(ordinals)),
    erased       bytea    not null default '',
    digest       bytea    not null check (length(digest) = 32),
    constraint undo_pkey primary key (operation, step, first, last)
);
alter table haulage.undo alter column content set storage external, alter column salts set storage external;

grant select, insert, delete on haulage.manifests, haulage.blocks, haulage.undo to {app_role};
-- Sealing, and erasing; what identifies a row and its digest is never changed.
grant update (items, blocks, manifest_digest, input_digest) on haulage.manifests to {app_role};
grant update (content, salts, erased) on haulage.blocks, haulage.undo to {app_role};
-- Erasing is complete only when the old versions of rows are gone.
grant maintain on haulage.blocks, haulage.undo to {app_role};
