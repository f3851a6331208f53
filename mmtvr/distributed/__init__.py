"""Several processes: gathering with exact gradients, launch, failures.

Imports nothing, so that a command of one process can ask for its rank.
"""

import os

# What each launcher calls rank, number of processes and rank on this machine.
VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': (
        'OMPI_COMM_WORLD_RANK',
        'OMPI_COMM_WORLD_SIZE',
        'OMPI_COMM_WORLD_LOCAL_RANK',
    ),
}
LAUNCHERS = ('none', *VARIABLES)


def launched_rank() -> int | None:
    """Rank of this process as its launcher says, None without a launcher."""
    for rank, _, _ in VARIABLES.values():
        if rank in os.environ:
            return int(os.environ[rank])
    return None
