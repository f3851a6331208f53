"""Two learning rates: a small one for pretrained parts, one for the rest."""

from collections.abc import Sequence

from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from mmtvr.engine.loops import unwrap_model
from mmtvr.errors import SetupError
from mmtvr.models.lora import ADAPTER
from mmtvr.registry import OPTIM_WRAPPER_CONSTRUCTORS

SLOW = ('text_encoder', 'frame_encoder')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TwoRateConstructor:
    """Sort the parameters into few groups.

    Slow or not, with weight decay or without: biases, norms and scalars, that
    is everything with fewer than two axes or ``norm`` or ``bias`` in its own
    name, have none. LoRA adapters are new
    parts, wherever they are. With ``layer_decay`` d, layer i of the L layers
    of an encoder, from 1, has the rate of its part times d^(L + 1 - i), what
    is before the first layer times d^(L + 1), what is behind the last one
    times 1, as in BEiT. mmengine's own
    constructor lets a rate for a part undo the rule for its biases and norms,
    and makes one group per parameter, which keeps optimisers from working on
    many tensors at once.

    Args:
        optim_wrapper_cfg: Config of the optimiser wrapper with its
            ``optimizer``.
        paramwise_cfg: ``slow``, prefixes of the names of the parts with the
            small rate (default: both encoders), ``slow_lr_mult``, the
            factor on their rate (default: 1), and ``layer_decay`` in (0, 1]
            (default: 1).

    Raises:
        ValueError: If ``paramwise_cfg`` has other keys, or a prefix in
            ``slow`` is that of no parameter.
        SetupError: If ``layer_decay`` is out of range, or an encoder does not
            say where its layers are.

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
        self.layer_decay: float = options.pop('layer_decay', 1.0)
        if not 0 < self.layer_decay <= 1:
            raise SetupError(
                f'layer_decay={self.layer_decay} must be in (0, 1]: the '
                'factor from one layer of an encoder to the one below'
            )
        if options:
            raise ValueError(
                f'paramwise_cfg of mmtvr.TwoRateConstructor has '
                f'{sorted(options)}; it reads slow, slow_lr_mult and '
                'layer_decay'
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
        groups: dict[tuple[bool, bool, float], list[nn.Parameter]] = {}
        unused = set(self.slow)
        scales = self._layer_scales(model)
        for name, parameter in model.named_parameters():
            matches = {prefix for prefix in self.slow if _is_in(name, prefix)}
            unused -= matches
            if parameter.requires_grad:
                new = not matches or ADAPTER in name
                scale = next(
                    (by for at, by in scales.items() if _is_in(name, at)), 1.0
                )
                key = (not new, _decays(name, parameter), scale)
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

    def _layer_scales(self, model: nn.Module) -> dict[str, float]:
        """Factor on the rate by the path of each layer of the encoders."""
        scales: dict[str, float] = {}
        for side in SLOW if self.layer_decay < 1 else ():
            encoder = model.get_submodule(side)
            if not getattr(encoder, 'layers', None):
                raise SetupError(
                    f'layer_decay={self.layer_decay} needs to know the layers '
                    f'of {type(encoder).__name__}, model.{side}: it has no '
                    'attributes layers and before_layers; leave layer_decay '
                    'out'
                )
            paths = [
                f'{at}.{number}'
                for at in encoder.layers
                for number, _ in enumerate(encoder.get_submodule(at))
            ]
            # Later ones are nearer to the output.
            for steps, path in enumerate(reversed(paths), 1):
                scales[f'{side}.{path}'] = self.layer_decay**steps
            first = self.layer_decay ** (len(paths) + 1)
            for path in encoder.before_layers:
                scales[f'{side}.{path}'] = first
        return scales

    def _group(
        self,
        slow: bool,
        decay: bool,
        scale: float,
        parameters: list[nn.Parameter],
        optimizer: dict,
    ) -> dict:
        group = dict(params=parameters)
        if 'lr' in optimizer and (slow or scale != 1):
            mult = self.slow_lr_mult if slow else 1.0
            group['lr'] = optimizer['lr'] * mult * scale
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
