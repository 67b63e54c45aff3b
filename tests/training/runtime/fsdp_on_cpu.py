"""`tunesmith train` with FSDP really on over gloo: accelerate knows FSDP on GPUs only, so this tells it otherwise.

Started by torchrun. It stands in for several GPUs, so that splitting, evaluating, saving and resuming are tried.
"""

import sys

from accelerate import state
from accelerate.utils import DistributedType

from tunesmith.cli.train import main
from tunesmith.training.runtime import distribution

made = state.AcceleratorState.__init__
gpu_arguments = distribution._fsdp


def make(self, *arguments, fsdp_plugin=None, **others):
    made(self, *arguments, fsdp_plugin=fsdp_plugin, **others)
    if fsdp_plugin is not None:
        self.distributed_type = DistributedType.FSDP
        self.fsdp_plugin = fsdp_plugin
        if self._mixed_precision != "no":
            fsdp_plugin.set_mixed_precision(self._mixed_precision)
        state.PartialState._shared_state["distributed_type"] = DistributedType.FSDP


state.AcceleratorState.__init__ = make
distribution.can_shard = lambda hardware: True
distribution._fsdp = lambda section: gpu_arguments(section) | {"ddp_backend": "gloo"}
sys.exit(main())
