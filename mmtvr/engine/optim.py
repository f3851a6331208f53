"""Two learning rates: a small one for pretrained parts, one for the rest."""

from collections.abc import Sequence

from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from mmtvr.engine.loops import unwrap_model
from mmtvr.registry import OPTIM_WRAPPER_CONSTRUCTORS

SLOW = ('text_encoder', 'frame_encoder')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TwoRateConstructor:
    """Sort the parameters into at most four groups.

    Slow or not, with weight decay or without: biases, norms and scalars have
    none, that is everything with fewer than two axes, and gains and biases of
    norms over several axes, which ``norm`` or ``bias`` in their own name
    tells. mmengine's own
    constructor lets a rate for a part undo the rule for its biases and norms,
    and makes one group per parameter, which keeps optimisers from working on
    many tensors at once.

    Args:
        optim_wrapper_cfg: Config of the optimiser wrapper with its
            ``optimizer``.
        paramwise_cfg: ``slow``, prefixes of the names of the parts with the
            small rate (default: both encoders), and ``slow_lr_mult``, the
            factor on their rate (default: 1).

    Raises:
        ValueError: If ``paramwise_cfg`` has other keys, or a prefix in
            ``slow`` is that of no parameter.

    Example:
        >>> optim_wrapper = dict(
        ...     optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.2),
        ...     constructor='mmtvr.TwoRateConstructor',
        ...     paramwise_cfg=dict(slow_lr_mult=1e-3))
    """

    def __init__(
        self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None
    ) -> None:
        self.optim_wrapper_cfg = optim_wrapper_cfg
        options = dict(paramwise_cfg or {})
        self.slow: Sequence[str] = tuple(options.pop('slow', SLOW))
        self.slow_lr_mult: float = options.pop('slow_lr_mult', 1.0)
        if options:
            raise ValueError(
                f'paramwise_cfg of mmtvr.TwoRateConstructor has '
                f'{sorted(options)}; it reads slow and slow_lr_mult'
            )

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimiser of a model, perhaps in DDP, and its wrapper."""
        model = unwrap_model(model)
        wrapper = dict(self.optim_wrapper_cfg)
        optimizer = dict(wrapper.pop('optimizer'))
        optimizer['params'] = self._groups(model, optimizer)
        wrapper.setdefault('type', 'OptimWrapper')
        wrapper['optimizer'] = OPTIMIZERS.build(optimizer)
        return OPTIM_WRAPPERS.build(wrapper)

    def _groups(self, model: nn.Module, optimizer: dict) -> list[dict]:
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        unused = set(self.slow)
        for name, parameter in model.named_parameters():
            matches = {prefix for prefix in self.slow if _is_in(name, prefix)}
            unused -= matches
            if parameter.requires_grad:
                key = (bool(matches), _decays(name, parameter))
                groups.setdefault(key, []).append(parameter)
        if unused:
            parts = {
                name.split('.')[0] for name, _ in model.named_parameters()
            }
            raise ValueError(
                f'no parameter begins with {sorted(unused)}, given as slow to '
                'mmtvr.TwoRateConstructor; the parts of the model are '
                f'{sorted(parts)}'
            )
        return [
            self._group(*key, parameters, optimizer)
            for key, parameters in sorted(groups.items())
        ]

    def _group(
        self,
        slow: bool,
        decay: bool,
        parameters: list[nn.Parameter],
        optimizer: dict,
    ) -> dict:
        group = dict(params=parameters)
        if slow and 'lr' in optimizer:
            group['lr'] = optimizer['lr'] * self.slow_lr_mult
        if not decay:
            group['weight_decay'] = 0.0
        print_log(
            f'{sum(p.numel() for p in parameters):,} parameters of '
            f'{"slow" if slow else "new"} parts: lr '
            f'{group.get("lr", optimizer.get("lr"))}, weight decay '
            f'{group.get("weight_decay", optimizer.get("weight_decay"))}',
            'current',
        )
        return group


def _is_in(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + '.')


def _decays(name: str, parameter: nn.Parameter) -> bool:
    own = name.rpartition('.')[2]
    return parameter.ndim > 1 and 'norm' not in own and 'bias' not in own
