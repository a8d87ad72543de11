"""The forms of each kind, by family: a kind is a concept, and what is held out is no form that training shows."""

from __future__ import annotations

import numpy as np

from vila_sim.flats.furniture import KINDS, Paint
from vila_sim.forms import cases, seating, soft, storage, tables, things
from vila_sim.forms.common import Form, Parts

RICH_FORMS: dict[str, tuple[Form, ...]] = {
    "chair": (
        seating.chair_with_slats,
        seating.office_chair,
        seating.chair_with_splayed_legs,
        seating.chair_with_frame,
    ),
    "stool": (seating.stool_on_legs, seating.bar_stool, seating.splayed_stool),
    "table": (tables.table_on_legs, tables.trestle_table, tables.splayed_table),
    "sofa": (soft.block_sofa, soft.high_sofa, soft.framed_sofa),
    "armchair": (soft.block_armchair, soft.wing_armchair, soft.framed_armchair),
    "bed": (soft.box_bed, soft.bed_on_legs, soft.bed_with_foot),
    "cabinet": (storage.wide_cabinet, storage.tall_cabinet, storage.chest_of_drawers),
    "bookshelf": (storage.bookshelf_with_sides, storage.bookshelf_of_cells, storage.bookshelf_on_posts),
    "lamp": (things.lamp_with_cone, things.lamp_with_drum, things.lamp_on_tripod),
    "plant": (things.bushy_plant, things.small_tree, things.leafy_plant),
    "ball": (things.plain_ball, things.striped_ball),
    "crate": (storage.slatted_crate, storage.braced_crate, storage.flat_crate),
    "vase": (things.bottle_vase, things.urn, things.flared_vase),
    "television": (cases.television_on_cabinet, cases.television_with_tube, cases.television_on_rack),
    "bin": (cases.pedal_bin, cases.swing_bin, cases.open_bin),
    "suitcase": (cases.rolling_suitcase, cases.strapped_suitcase),
    "cone": (things.road_cone, things.slim_cone),
    "bear": (things.sitting_bear, things.standing_bear),
}

HELD_OUT_FORMS: dict[str, tuple[Form, ...]] = {
    "chair": (seating.chair_with_round_back, seating.cantilever_chair),
    "stool": (seating.drum_stool, seating.tripod_stool),
    "table": (tables.round_table, tables.crossed_table),
    "sofa": (soft.rolled_sofa, soft.couch),
    "armchair": (soft.tub_armchair, soft.rolled_armchair),
    "bed": (soft.four_poster, soft.day_bed),
    "cabinet": (storage.locker, storage.open_cabinet),
    "bookshelf": (storage.stepped_bookshelf, storage.split_bookshelf),
    "lamp": (things.globe_lamp, things.arc_lamp),
    "plant": (things.cactus, things.trough_plant),
    "ball": (things.hopping_ball, things.patched_ball),
    "crate": (storage.stacked_crates, storage.pallet_crate),
    "vase": (things.ringed_vase, things.jar),
    "television": (cases.television_on_easel, cases.television_on_column),
    "bin": (cases.wheeled_bin, cases.hooded_bin),
    "suitcase": (cases.soft_suitcase, cases.travel_trunk),
    "cone": (things.wide_cone, things.knobbed_cone),
    "bear": (things.crawling_bear, things.lying_bear),
}


def with_plain_form(kind: str, forms: tuple[Form, ...]) -> tuple[Form, ...]:
    """Add the form that the kind has in plain flats."""
    builder = KINDS[kind]

    def plain(paint: Paint, _: np.random.Generator) -> Parts:
        return builder(paint)

    return (*forms, plain)
