"""
Migrations of the registry, by Alembic, for SQLite and PostgreSQL.

Each file of ``versions/`` leads from one schema to the next; its revision is the number of the schema. The first one
is the schema of release 0.1.0. Migrations spell out their tables: `registry.tables` has those of today.
"""
