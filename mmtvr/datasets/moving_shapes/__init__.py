"""Videos of moving shapes, drawn by the project itself."""

from mmtvr.datasets.moving_shapes.generation import MovingShapesDataset

__all__ = ['MovingShapesDataset']
