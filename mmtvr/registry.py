"""Registry nodes of mmtvr, siblings of mmaction's under mmengine's root.

``mmengine`` swallows an ``ImportError`` raised while it imports this module
and then reports every ``mmtvr.X`` as unknown, so nothing here may fail: only
``mmengine`` itself is imported.
"""

from importlib import import_module

from mmengine import registry as root
from mmengine.registry import Registry

SCOPE = 'mmtvr'


class LazyRegistry(Registry):
    """A node that imports no more modules than it takes to find a type.

    A look-up imports ``locations`` one after the other until one of them has
    registered the type, so those that every command needs come first.

    Args:
        parent: Node of mmengine.
        *locations: Modules that register types.
    """

    def __init__(self, parent: Registry, *locations: str) -> None:
        super().__init__(
            parent.name, parent=parent, scope=SCOPE, locations=list(locations)
        )

    def get(self, key: str) -> type | None:
        """Find a type; see :meth:`mmengine.registry.Registry.get`."""
        scope, name = self.split_scope_key(key)
        if scope in (None, SCOPE):
            for location in self._locations:
                if name not in self.module_dict:
                    import_module(location)
            if name in self.module_dict:
                return self.module_dict[name]
        return super().get(key)


DATASETS = LazyRegistry(
    root.DATASETS,
    'mmtvr.datasets.samplers',
    'mmtvr.datasets.text_video',
    'mmtvr.datasets.moving_shapes',
    'mmtvr.datasets.frozen_features',
)
DATA_SAMPLERS = LazyRegistry(root.DATA_SAMPLERS, 'mmtvr.datasets.samplers')
FUNCTIONS = LazyRegistry(root.FUNCTIONS, 'mmtvr.datasets.samplers')
TRANSFORMS = LazyRegistry(
    root.TRANSFORMS,
    'mmtvr.datasets.transforms.packing',
    'mmtvr.datasets.transforms.text',
    'mmtvr.datasets.transforms.keywords',
    'mmtvr.datasets.transforms.video',
)
# mmengine has no such kind: a root of its own.
VIDEO_READERS = Registry(
    'video reader', scope=SCOPE, locations=['mmtvr.datasets.readers']
)
MODELS = LazyRegistry(
    root.MODELS,
    'mmtvr.models.retriever',
    'mmtvr.models.preprocessor',
    'mmtvr.models.heads',
    'mmtvr.models.encoders',
    'mmtvr.models.temporal',
    'mmtvr.models.distillation',
    'mmtvr.models.partial_order',
    'mmtvr.losses',
)
METRICS = LazyRegistry(root.METRICS, 'mmtvr.evaluation.metrics')
LOOPS = LazyRegistry(root.LOOPS, 'mmtvr.engine')
HOOKS = LazyRegistry(root.HOOKS, 'mmtvr.engine')
OPTIM_WRAPPER_CONSTRUCTORS = LazyRegistry(
    root.OPTIM_WRAPPER_CONSTRUCTORS, 'mmtvr.engine'
)
PARAM_SCHEDULERS = LazyRegistry(root.PARAM_SCHEDULERS, 'mmtvr.engine')

# Empty nodes for the other kinds that ``Runner`` builds: without them every
# look-up under ``default_scope='mmtvr'`` warns that it found no such registry.
RUNNERS = LazyRegistry(root.RUNNERS)
RUNNER_CONSTRUCTORS = LazyRegistry(root.RUNNER_CONSTRUCTORS)
MODEL_WRAPPERS = LazyRegistry(root.MODEL_WRAPPERS)
WEIGHT_INITIALIZERS = LazyRegistry(root.WEIGHT_INITIALIZERS)
OPTIMIZERS = LazyRegistry(root.OPTIMIZERS)
OPTIM_WRAPPERS = LazyRegistry(root.OPTIM_WRAPPERS)
EVALUATOR = LazyRegistry(root.EVALUATOR)
TASK_UTILS = LazyRegistry(root.TASK_UTILS)
VISUALIZERS = LazyRegistry(root.VISUALIZERS)
VISBACKENDS = LazyRegistry(root.VISBACKENDS)
LOG_PROCESSORS = LazyRegistry(root.LOG_PROCESSORS)
INFERENCERS = LazyRegistry(root.INFERENCERS)
STRATEGIES = LazyRegistry(root.STRATEGIES)
