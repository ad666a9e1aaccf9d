"""What Dagster loads: `dagster dev -m cowrie_assets.definitions`.

Belongs here: reading the settings. Not here: assets (`defs/`).
"""

from __future__ import annotations

import dagster as dg

from cowrie_assets.defs.build import build_defs
from cowrie_assets.errors import CowrieError
from cowrie_assets.pipeline import Pipeline
from cowrie_assets.settings import Settings, load_settings


def _load() -> dg.Definitions:
    try:
        settings = load_settings()
    except CowrieError as error:
        # The location still loads, so that the UI can show the one line; every step ends in it.
        dg.get_dagster_logger().error("%s", error)
        return build_defs(Settings(), pipeline=lambda: Pipeline(load_settings()))
    return build_defs(settings)


defs = _load()
