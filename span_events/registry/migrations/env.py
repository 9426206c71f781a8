"""Executed by Alembic: gives it the connection, whose transaction the caller ends."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
