"""Run by Alembic for one database: the connection and the branch come from the caller (`node.storage.schema`)."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=context.config.attributes["metadata"], transactional_ddl=False)
context.run_migrations()
