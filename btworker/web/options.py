"""A client's options: what form fields say (option_fields.py) -> jobs.Options, or a BAD_OPTION that names the culprit.

Pure, parent. Uploads are strict: an unknown option is an error, since a silent one would surprise much later.
"""

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.alias_generators import to_camel

from btworker.config import Settings
from btworker.config.speech import MOST_BONUS, MOST_PROMPT_TOKENS
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import DEFAULT_OUTPUTS, Options, OutputFormat
from btworker.web.fields import bare
from btworker.web.keywords import FIELDS as KEYWORD_FIELDS
from btworker.web.keywords import NAME as KEYWORDS
from btworker.web.keywords import keyword_options, split_keywords
from btworker.web.language_options import MOST as MOST_LANGUAGES
from btworker.web.language_options import NAME as LANGUAGES
from btworker.web.language_options import ONE as ONE_LANGUAGE
from btworker.web.language_options import SEVERAL as SEVERAL_LANGUAGES
from btworker.web.language_options import chosen_languages, split_languages
from btworker.web.mistakes import first_field
from btworker.web.option_fields import (
    CALLBACK,
    JSON_FIELD,
    NAME_FIELDS,
    OUTPUTS_TO,
    SOURCE,
    SPEAKER_NAMES,
    SPEAKER_REFERENCES,
    Fields,
    collect,
    is_empty,
    shown,
)
from btworker.web.ranges import RANGES, TIME, Ranges, Time, checked_ranges, chosen_channels
from btworker.web.speaker_names import known_speakers

FOLLOWED = frozenset(
    {
        "includeSegments", "includeFull", "includeTimestamps",  # every result has these
        "diarizationEffective",  # its speaker counts are read; the rest repeats what stands beside it
        "diarizationWarnings",  # told to the worker, not asked of it
        "diarizationAutoSplit", "diarizationMaxDurationSeconds",  # long recordings are taken in blocks in any case
    }
)  # fmt: skip
"""A controller's options that ask for what is done anyway."""
DEFAULTS = {"qualityPreset": "balanced", "backend": "remote", "diarizationFastSwitching": False}
"""A controller's options that have no effect here, and the value that asks for nothing."""
MOST_NAMED = 50
MOST_PROMPT_CHARS = 4000
_NOT_PLAIN = {
    *("model", "language", "languages", "decode", "outputs", "known_speakers", "diarization_enabled"),
    *("channels", "multichannel", "start", "end", "ranges", *KEYWORD_FIELDS),
}
"""Fields of which an option is made that differs from them."""
_FORMATS = ", ".join(item.value for item in OutputFormat)
_YES_NO = "true or false"
_SPEAKERS = "a whole number from 1 to 50"


class OptionsForm(BaseModel):
    """The options by their wire names; a description says what is allowed, for the error message."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=()
    )

    model: str | None = Field(None, max_length=64, description="the name of a model")
    language: str = Field("", max_length=40, description=ONE_LANGUAGE)
    languages: tuple[str, ...] = Field((), max_length=MOST_LANGUAGES, description=SEVERAL_LANGUAGES)
    task: Literal["transcribe", "translate"] = Field("transcribe", description="transcribe or translate")
    prompt: str = Field("", max_length=MOST_PROMPT_CHARS, description=f"text of at most {MOST_PROMPT_CHARS} characters")
    keywords: tuple[str, ...] = Field((), description="names and terms, in a list or with commas between them")
    keyword_bonus: float | None = Field(None, ge=0, le=MOST_BONUS, description=f"a number from 0 to {MOST_BONUS:g}")
    keyword_prompt_tokens: int | None = Field(
        None, ge=0, le=MOST_PROMPT_TOKENS, description=f"a whole number from 0 to {MOST_PROMPT_TOKENS}"
    )
    temperature: float | None = Field(None, ge=0, le=1, description="a number from 0 to 1")
    beam_size: int | None = Field(None, ge=1, le=20, description="a whole number from 1 to 20")
    token_logprobs: bool = Field(default=False, description=_YES_NO)
    decode: Literal["fast", "exact"] | None = Field(None, description="fast or exact")
    word_timestamps: bool = Field(default=True, description=_YES_NO)
    vad_enabled: bool = Field(default=False, description=_YES_NO)
    hallucination_detection: bool = Field(default=True, description=_YES_NO)
    hallucination_sensitivity: int = Field(50, ge=0, le=100, description="a whole number from 0 to 100")
    no_speech_threshold: float = Field(0.6, ge=0, le=1, description="a number from 0 to 1")
    diarization_enabled: bool = Field(default=False, description=_YES_NO)
    num_speakers: int | None = Field(None, ge=1, le=50, description=_SPEAKERS)
    min_speakers: int | None = Field(None, ge=1, le=50, description=_SPEAKERS)
    max_speakers: int | None = Field(None, ge=1, le=50, description=_SPEAKERS)
    known_speakers: tuple[str, ...] = Field(
        (),
        alias="knownSpeakerNames",
        max_length=50,
        description="names of at most 100 characters, one for each reference",
    )
    channels: Literal["mix", "separate"] | None = Field(None, description="mix or separate")
    multichannel: bool | None = Field(None, description=_YES_NO)
    start: Time | None = Field(None, description=TIME)
    end: Time | None = Field(None, description=TIME)
    ranges: Ranges | None = Field(None, description=RANGES)
    outputs: tuple[OutputFormat, ...] = Field(
        DEFAULT_OUTPUTS, min_length=1, max_length=50, description=f"one or more of {_FORMATS}"
    )
    priority: int = Field(5, ge=0, le=9, description="a whole number from 0 (last) to 9 (first)")

    @field_validator("known_speakers", mode="before")
    @classmethod
    def _listed(cls, raw: object) -> object:
        return [raw] if isinstance(raw, str) else raw

    @field_validator("outputs", mode="before")
    @classmethod
    def _split(cls, raw: object) -> object:
        items = raw if isinstance(raw, list | tuple) else [raw]
        words = [word for item in items for word in (item.lower().split(",") if isinstance(item, str) else [item])]
        return [word.strip() if isinstance(word, str) else word for word in words if not is_empty(word)]

    @field_validator(LANGUAGES, mode="before")
    @classmethod
    def _split_languages(cls, raw: object) -> object:
        return split_languages(raw)

    @field_validator(KEYWORDS, mode="before")
    @classmethod
    def _split_keywords(cls, raw: object) -> object:
        return split_keywords(raw)


def is_option(name: str) -> bool:
    """Whether a form's field of this name says something of the job."""
    return name in WIRE_NAMES or name in (JSON_FIELD, *_BESIDE) or bare(name) in NAME_FIELDS


_BESIDE = (CALLBACK, SOURCE, OUTPUTS_TO, SPEAKER_REFERENCES)
WIRE_NAMES = {field.alias or name: name for name, field in OptionsForm.model_fields.items()}
"""Wire name -> field name."""
CONTROLLERS_NAMES = WIRE_NAMES.keys() - {SPEAKER_NAMES}
"""Of those, what a controller's job may have: it sends no voices."""


def parse_options(fields: Fields, settings: Settings) -> Options:
    """The options of an upload. Raises BAD_OPTION, with the option's name as `param`."""
    values = collect(fields)
    for name in _BESIDE:
        values.pop(name, None)
    try:
        form = OptionsForm.model_validate(values)
    except ValidationError as error:
        raise _explained(error) from None
    return _checked(form, settings)


def lenient_options(wanted: dict[str, Any], settings: Settings) -> tuple[Options, tuple[str, ...]]:
    """The options of a controller's job, and what of them was not followed. Raises BAD_OPTION for the model alone: a
    transcript of another model is not what was asked for."""
    values = {name: value for name, value in wanted.items() if name in CONTROLLERS_NAMES and not is_empty(value)}
    unknown = [shown(name) for name in sorted(wanted) if _has_no_effect(name, wanted)]
    warnings = [f"options without effect here: {', '.join(unknown[:MOST_NAMED])}"] if unknown else []
    while True:
        try:
            return parse_options([(JSON_FIELD, json.dumps(values))], settings), tuple(warnings)
        except BtworkerError as error:
            if error.param not in values or error.param == "model":
                raise
            warnings.append(f"{error.message}; the option was left out")
            del values[error.param]


def _has_no_effect(name: str, wanted: dict[str, Any]) -> bool:
    """Whether a controller's option asks for something that is not done."""
    if name in CONTROLLERS_NAMES or name in FOLLOWED or is_empty(wanted[name]) or wanted[name] == DEFAULTS.get(name):
        return False
    return not name.startswith("diarization") or bool(wanted.get("diarizationEnabled"))


def _explained(error: ValidationError) -> BtworkerError:
    """The first mistake as a sentence; values are not repeated."""
    option = first_field(error)
    if option not in WIRE_NAMES:
        name = shown(option)
        message = f"there is no option {name!r}; there are {', '.join(WIRE_NAMES)}"
        return BtworkerError(ErrorCode.BAD_OPTION, message, param=name)
    allowed = OptionsForm.model_fields[WIRE_NAMES[option]].description
    return BtworkerError(ErrorCode.BAD_OPTION, f"{option} must be {allowed}", param=option)


def _checked(form: OptionsForm, settings: Settings) -> Options:
    model = settings.model_called(form.model or settings.model)
    if model not in (allowed := settings.model_paths):
        message = (
            f"the model {shown(model)!r} is not offered here; there are {', '.join(allowed)}; the worker's "
            "operator can give other names a meaning (WORKER_MODEL_ALIASES)"
        )
        raise BtworkerError(ErrorCode.BAD_OPTION, message, param="model")
    decode = form.decode or settings.decode
    language, languages = chosen_languages(form.language, form.languages, model=model, decode=decode, settings=settings)
    _check_speakers(form)
    known = known_speakers(form.known_speakers, settings)
    return Options(
        model=model,
        language=language,
        languages=languages,
        decode=decode,
        outputs=tuple(dict.fromkeys(form.outputs)),
        known_speakers=known,
        diarization_enabled=form.diarization_enabled or bool(known),
        channels=chosen_channels(form.channels, form.multichannel),
        ranges=checked_ranges(form.start, form.end, form.ranges),
        **form.model_dump(exclude=_NOT_PLAIN),
        **keyword_options(form.keywords, form.keyword_bonus, form.keyword_prompt_tokens, settings),
    )


def _check_speakers(form: OptionsForm) -> None:
    low, high, exact = form.min_speakers or 1, form.max_speakers or 50, form.num_speakers
    if low > high:
        raise BtworkerError(
            ErrorCode.BAD_OPTION, "minSpeakers must not be greater than maxSpeakers", param="minSpeakers"
        )
    if exact is not None and not low <= exact <= high:
        raise BtworkerError(
            ErrorCode.BAD_OPTION, "numSpeakers must lie between minSpeakers and maxSpeakers", param="numSpeakers"
        )
