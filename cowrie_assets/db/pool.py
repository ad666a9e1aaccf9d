"""A pool of plain psycopg connections for a service that lives long, such as the health endpoint.

Belongs here: that pool. Not here: commands, which take an engine (`engine.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError
from .engine import connection_parameters
from .settings import load_engine_settings
from .url import postgres_url

if TYPE_CHECKING:
    import psycopg
    from psycopg_pool import ConnectionPool


def connection_pool(url: str, *, size: int = 2) -> ConnectionPool[psycopg.Connection[tuple[Any, ...]]]:
    """A pool of read-only connections, opened by its `with` block.

    It connects in the background and mends broken connections by itself; `pool.connection()` raises
    `psycopg_pool.PoolTimeout` after the connect timeout where the server does not answer.

    Raises:
        MissingExtraError: psycopg or psycopg-pool is not installed.
        SettingsError: for a URL that is none.
    """
    settings = load_engine_settings()
    parameters = connection_parameters(postgres_url(url, "The database"), settings, write=False)
    try:
        from psycopg_pool import ConnectionPool
    except ImportError as error:
        raise MissingExtraError(
            "The pool needs psycopg-pool, which is not installed.", hint="Run pip install 'cowrie-assets[postgres]'."
        ) from error
    return ConnectionPool(
        kwargs={**parameters, "autocommit": True},
        min_size=1,
        max_size=size,
        open=False,
        timeout=settings.connect_timeout,
        max_lifetime=settings.pool_recycle if settings.pool_recycle > 0 else 3_600,
        check=ConnectionPool.check_connection if settings.pool_pre_ping else None,
    )
