"""The Python API: encode and search videos, evaluate scores.

Each name is imported when it is first used: importing this package costs
nothing.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from mmtvr.apis.client import SearchClient as SearchClient
    from mmtvr.apis.evaluation import evaluate as evaluate
    from mmtvr.apis.evaluation import (
        evaluate_fine_grained as evaluate_fine_grained,
    )
    from mmtvr.apis.evaluation import evaluate_moments as evaluate_moments
    from mmtvr.apis.retriever import Retriever as Retriever
    from mmtvr.apis.searcher import TextVideoSearcher as TextVideoSearcher
    from mmtvr.apis.searcher import calibrate_index as calibrate_index
    from mmtvr.apis.searcher import describe_index as describe_index
    from mmtvr.apis.searcher import export_index as export_index
    from mmtvr.apis.searcher import import_index as import_index
    from mmtvr.apis.searcher import measure_hubness as measure_hubness
    from mmtvr.apis.searcher import open_searcher as open_searcher
    from mmtvr.apis.searcher import remove_from_index as remove_from_index
    from mmtvr.apis.searcher import search_by_name as search_by_name
    from mmtvr.apis.searcher import search_by_vectors as search_by_vectors
    from mmtvr.apis.searcher import switch_index as switch_index

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        'client': ['SearchClient'],
        'evaluation': [
            'evaluate',
            'evaluate_fine_grained',
            'evaluate_moments',
        ],
        'retriever': ['Retriever'],
        'searcher': [
            'TextVideoSearcher',
            'calibrate_index',
            'describe_index',
            'export_index',
            'import_index',
            'measure_hubness',
            'open_searcher',
            'remove_from_index',
            'search_by_name',
            'search_by_vectors',
            'switch_index',
        ],
    },
)
