"""Registry nodes of mmtvr, siblings of mmaction's under mmengine's root.

``mmengine`` swallows an ``ImportError`` raised while it imports this module
and then reports every ``mmtvr.X`` as unknown, so nothing here may fail: only
``mmengine`` itself is imported. The modules named in ``locations`` are
imported at the first look-up.
"""

from mmengine import registry as root
from mmengine.registry import Registry

SCOPE = 'mmtvr'


def _child(parent: Registry, *locations: str) -> Registry:
    return Registry(
        parent.name, parent=parent, scope=SCOPE, locations=list(locations)
    )


DATASETS = _child(root.DATASETS, 'mmtvr.datasets')
DATA_SAMPLERS = _child(root.DATA_SAMPLERS, 'mmtvr.datasets')
FUNCTIONS = _child(root.FUNCTIONS, 'mmtvr.datasets')
TRANSFORMS = _child(root.TRANSFORMS, 'mmtvr.datasets.transforms')
# mmengine has no such kind: a root of its own.
VIDEO_READERS = Registry(
    'video reader', scope=SCOPE, locations=['mmtvr.datasets.readers']
)
MODELS = _child(root.MODELS, 'mmtvr.models', 'mmtvr.losses')
METRICS = _child(root.METRICS, 'mmtvr.evaluation')
LOOPS = _child(root.LOOPS, 'mmtvr.engine')
HOOKS = _child(root.HOOKS, 'mmtvr.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    root.OPTIM_WRAPPER_CONSTRUCTORS, 'mmtvr.engine'
)

# Empty nodes for the other kinds that ``Runner`` builds: without them every
# look-up under ``default_scope='mmtvr'`` warns that it found no such registry.
RUNNERS = _child(root.RUNNERS)
RUNNER_CONSTRUCTORS = _child(root.RUNNER_CONSTRUCTORS)
MODEL_WRAPPERS = _child(root.MODEL_WRAPPERS)
WEIGHT_INITIALIZERS = _child(root.WEIGHT_INITIALIZERS)
OPTIMIZERS = _child(root.OPTIMIZERS)
OPTIM_WRAPPERS = _child(root.OPTIM_WRAPPERS)
PARAM_SCHEDULERS = _child(root.PARAM_SCHEDULERS)
EVALUATOR = _child(root.EVALUATOR)
TASK_UTILS = _child(root.TASK_UTILS)
VISUALIZERS = _child(root.VISUALIZERS)
VISBACKENDS = _child(root.VISBACKENDS)
LOG_PROCESSORS = _child(root.LOG_PROCESSORS)
INFERENCERS = _child(root.INFERENCERS)
STRATEGIES = _child(root.STRATEGIES)
