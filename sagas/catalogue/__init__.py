"""The catalogue: the operations that come with Haulage."""

from haulage.sagas.catalogue.import_users import IMPORT_USERS
from haulage.sagas.definition import Definition

CATALOGUE: tuple[Definition, ...] = (IMPORT_USERS,)
"""Every version of every kind that this release can run."""
