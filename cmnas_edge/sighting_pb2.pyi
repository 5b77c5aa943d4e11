from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Modality(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODALITY_UNSPECIFIED: _ClassVar[Modality]
    MODALITY_VISIBLE: _ClassVar[Modality]
    MODALITY_INFRARED: _ClassVar[Modality]

class Engine(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENGINE_UNSPECIFIED: _ClassVar[Engine]
    ENGINE_ONNXRUNTIME: _ClassVar[Engine]
    ENGINE_TENSORRT: _ClassVar[Engine]
    ENGINE_OPENVINO: _ClassVar[Engine]

class Precision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRECISION_UNSPECIFIED: _ClassVar[Precision]
    PRECISION_FP32: _ClassVar[Precision]
    PRECISION_FP16: _ClassVar[Precision]
    PRECISION_INT8: _ClassVar[Precision]
    PRECISION_BF16: _ClassVar[Precision]
    PRECISION_INT8_FP16: _ClassVar[Precision]

class Packing(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PACKING_UNSPECIFIED: _ClassVar[Packing]
    PACKING_FP16: _ClassVar[Packing]
    PACKING_INT8: _ClassVar[Packing]

class Result(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESULT_UNSPECIFIED: _ClassVar[Result]
    RESULT_STORED: _ClassVar[Result]
    RESULT_DUPLICATE: _ClassVar[Result]
    RESULT_REFUSED: _ClassVar[Result]
MODALITY_UNSPECIFIED: Modality
MODALITY_VISIBLE: Modality
MODALITY_INFRARED: Modality
ENGINE_UNSPECIFIED: Engine
ENGINE_ONNXRUNTIME: Engine
ENGINE_TENSORRT: Engine
ENGINE_OPENVINO: Engine
PRECISION_UNSPECIFIED: Precision
PRECISION_FP32: Precision
PRECISION_FP16: Precision
PRECISION_INT8: Precision
PRECISION_BF16: Precision
PRECISION_INT8_FP16: Precision
PACKING_UNSPECIFIED: Packing
PACKING_FP16: Packing
PACKING_INT8: Packing
RESULT_UNSPECIFIED: Result
RESULT_STORED: Result
RESULT_DUPLICATE: Result
RESULT_REFUSED: Result

class Sighting(_message.Message):
    __slots__ = ("device", "camera", "spool", "sequence", "seen_from", "seen_at", "modality", "tracklet", "view_count", "quality", "box_width", "box_height", "fingerprint", "engine", "precision", "transform", "packing", "vector", "seal")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    SPOOL_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SEEN_FROM_FIELD_NUMBER: _ClassVar[int]
    SEEN_AT_FIELD_NUMBER: _ClassVar[int]
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    TRACKLET_FIELD_NUMBER: _ClassVar[int]
    VIEW_COUNT_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    BOX_WIDTH_FIELD_NUMBER: _ClassVar[int]
    BOX_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    TRANSFORM_FIELD_NUMBER: _ClassVar[int]
    PACKING_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    SEAL_FIELD_NUMBER: _ClassVar[int]
    device: str
    camera: str
    spool: str
    sequence: int
    seen_from: float
    seen_at: float
    modality: Modality
    tracklet: int
    view_count: int
    quality: float
    box_width: int
    box_height: int
    fingerprint: bytes
    engine: Engine
    precision: Precision
    transform: int
    packing: Packing
    vector: bytes
    seal: Seal
    def __init__(self, device: _Optional[str] = ..., camera: _Optional[str] = ..., spool: _Optional[str] = ..., sequence: _Optional[int] = ..., seen_from: _Optional[float] = ..., seen_at: _Optional[float] = ..., modality: _Optional[_Union[Modality, str]] = ..., tracklet: _Optional[int] = ..., view_count: _Optional[int] = ..., quality: _Optional[float] = ..., box_width: _Optional[int] = ..., box_height: _Optional[int] = ..., fingerprint: _Optional[bytes] = ..., engine: _Optional[_Union[Engine, str]] = ..., precision: _Optional[_Union[Precision, str]] = ..., transform: _Optional[int] = ..., packing: _Optional[_Union[Packing, str]] = ..., vector: _Optional[bytes] = ..., seal: _Optional[_Union[Seal, _Mapping]] = ...) -> None: ...

class Seal(_message.Message):
    __slots__ = ("key", "encapsulated", "number")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ENCAPSULATED_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    encapsulated: bytes
    number: int
    def __init__(self, key: _Optional[bytes] = ..., encapsulated: _Optional[bytes] = ..., number: _Optional[int] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("spool", "first", "last", "count")
    SPOOL_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    spool: str
    first: int
    last: int
    count: int
    def __init__(self, spool: _Optional[str] = ..., first: _Optional[int] = ..., last: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("sightings", "gaps")
    SIGHTINGS_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    sightings: _containers.RepeatedCompositeFieldContainer[Sighting]
    gaps: _containers.RepeatedCompositeFieldContainer[Gap]
    def __init__(self, sightings: _Optional[_Iterable[_Union[Sighting, _Mapping]]] = ..., gaps: _Optional[_Iterable[_Union[Gap, _Mapping]]] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("spool", "sequence", "result", "reason")
    SPOOL_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    spool: str
    sequence: int
    result: Result
    reason: str
    def __init__(self, spool: _Optional[str] = ..., sequence: _Optional[int] = ..., result: _Optional[_Union[Result, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ...) -> None: ...
