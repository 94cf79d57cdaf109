"""What Whisper invents in silence: it was trained on subtitles, which end in credits and good-byes."""

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

CREDITS = (
    "amara.org", "castingwords", "opensubtitles", "mooji.org", "dimatorzok", "qtss", "svensktextning", "textning.nu",
    "untertitel im auftrag des zdf", "untertitelung des zdf", "sous-titrage société radio-canada", "authorwave",
    "请不吝点赞", "請不吝點贊", "明镜与点点", "提供的字幕", "字幕志愿者", "字幕志願者",
    "한글자막 by", "ترجمة نانسي", "ghiền mì gõ",
)  # fmt: skip
"""Suspicious anywhere in a segment: no speaker says these."""

OPENINGS = (
    "subtitles by", "captions by", "captioned by", "subtitled by", "transcribed by", "transcription by",
    "transcript by",
    "untertitel der", "untertitel von", "untertitel im auftrag", "untertitelung im auftrag", "copyright wdr",
    "swr 2020", "swr 2021", "sous-titrage", "sous-titres réalisés", "sous-titres par",
    "subtítulos realizados por", "subtítulos por la comunidad", "subtitulado por", "sottotitoli creati",
    "sottotitoli e revisione", "sottotitoli a cura di", "legendas pela comunidade", "legendado por", "legendas por",
    "ondertiteld door", "ondertitels ingediend", "ondertiteling door", "tv gelderland", "napisy stworzone",
    "napisy przez", "zdjęcia i napisy", "undertexter från", "undertexter av", "danske tekster af", "teksting av",
    "titulky vytvořil", "субтитры сделал", "субтитры создавал", "субтитры подготовил", "субтитры предоставил",
    "редактор субтитров", "字幕由", "字幕by", "字幕製作", "字幕制作", "mbc 뉴스",
    "altyazı m.k",  # noqa: RUF001 - Turkish
)  # fmt: skip
"""How a credit begins. A segment that begins so is one, as far as anybody can tell."""

CLOSINGS = (
    "thank you for watching", "thanks for watching", "thank you so much for watching",
    "thank you very much for watching", "thank you for watching and see you in the next video",
    "thanks for watching and i'll see you in the next video",
    "thank you for watching please subscribe to my channel", "please subscribe to my channel", "please subscribe",
    "please like and subscribe", "like and subscribe", "don't forget to like and subscribe", "subscribe to my channel",
    "see you in the next video", "i'll see you in the next video", "to be continued",
    "vielen dank fürs zuschauen", "danke fürs zuschauen", "vielen dank für die aufmerksamkeit", "bis zum nächsten mal",
    "abonniert den kanal", "merci d'avoir regardé cette vidéo", "merci d'avoir regardé", "abonnez-vous",
    "n'oubliez pas de vous abonner", "merci à tous et à bientôt", "gracias por ver el video", "gracias por ver",
    "suscríbete al canal", "suscríbete", "no olvides suscribirte", "grazie per la visione",
    "grazie per aver guardato il video", "iscriviti al canale", "obrigado por assistir", "inscreva-se no canal",
    "bedankt voor het kijken", "dziękuję za oglądanie", "dziękuję za uwagę", "tack för att ni tittade",
    "tack för att du tittade", "tak fordi du så med", "takk for at du så på", "kiitos kun katsoit",
    "děkuji za pozornost", "köszönöm hogy megnézted", "mulțumesc pentru vizionare", "izlediğiniz için teşekkürler",
    "izlediğiniz için teşekkür ederim", "ευχαριστώ που παρακολουθήσατε",
    "abone olmayı unutmayın",  # noqa: RUF001 - Turkish
    "спасибо за просмотр", "продолжение следует", "подписывайтесь на канал", "дякую за перегляд",
    "ご視聴ありがとうございました", "最後までご視聴いただきありがとうございました", "ご清聴ありがとうございました",
    "チャンネル登録をお願いいたします", "チャンネル登録よろしくお願いします", "チャンネル登録お願いします",
    "次回予告", "谢谢观看", "感谢观看", "感謝觀看", "謝謝觀看", "谢谢大家观看", "谢谢收看", "多謝收看",
    "시청해주셔서 감사합니다", "시청해 주셔서 감사합니다", "구독과 좋아요 부탁드립니다", "구독 부탁드립니다",
    "اشتركوا في القناة", "شكرا للمشاهدة", "תודה שצפיתם", "देखने के लिए धन्यवाद",
    "terima kasih telah menonton", "terima kasih kerana menonton", "cảm ơn các bạn đã theo dõi",
    "hãy đăng ký kênh", "ขอบคุณที่รับชม",
)  # fmt: skip
"""Suspicious as a whole segment; within a longer one they may well have been spoken."""

SHORT_CLOSINGS = (
    "thank you", "thanks", "you", "bye", "bye bye", "thank you very much", "the end", "see you next time",
    "i'll see you next time", "we'll see you next time", "see you later", "see you soon", "thank you so much",
    "thank you for listening", "thanks for listening",
    "vielen dank", "danke", "tschüss", "merci", "gracias", "grazie", "obrigado", "bedankt", "dziękuję",
    "спасибо", "ありがとうございました", "おやすみなさい", "谢谢", "謝謝", "감사합니다", "شكرا", "תודה רבה",
)  # fmt: skip
"""People say these all the time, and Whisper into silence as well: only with another reason."""

SOUNDS = (
    "applause", "applauding", "cheering", "cheers and applause", "clapping", "laughter", "laughing", "laughs",
    "chuckles", "giggling", "music", "music playing", "soft music", "upbeat music", "theme music", "singing",
    "coughing", "coughs", "sighs", "gasps", "groans", "sobbing", "crying", "screaming", "breathing", "sneezes",
    "silence", "no audio", "inaudible", "static", "beep", "beeping", "engine revving", "dog barking", "birds chirping",
    "applaus", "gelächter", "lachen", "musik", "applaudissements", "rires", "musique", "aplausos", "risas", "música",
    "applausi", "risate", "musica", "risos", "аплодисменты", "смех", "музыка", "拍手", "笑", "音楽",
    "掌声", "笑声", "音乐", "박수", "웃음", "음악",
)  # fmt: skip
"""Names of sounds, as subtitles have them. Somebody may say one, so that as a whole segment it takes another reason."""
LAUGH = re.compile(r"a?(?:h[aeo]+ ?)+h?")
"""Laughter, spelled, and nothing else; "hi hi" is a greeting."""
LEAST_LAUGH = 4
"""Letters: "ha" and "he" are words."""

_ASCII_WORD = re.compile(r"[a-z0-9]+")


def normalized(text: str) -> str:
    """Lower case letters, marks and digits, one space between words: for comparing."""
    if text.isascii():  # the same, quicker
        return " ".join(_ASCII_WORD.findall(text.lower()))
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(sign if unicodedata.category(sign)[0] in "LMN" else " " for sign in folded)
    return " ".join(kept.split())


def doubt_of(text: str) -> float:
    """Rate a text from 0, nothing known, to 0.9, a subtitler's credits. `text` is normalized."""
    known = _known()
    if known.credit.search(text):
        return 0.9
    if text in known.closings or text.startswith(known.openings):
        return 0.7
    if text in known.sounds or _is_laughter(text):
        return 0.5
    return 0.35 if text in known.short_closings else 0.0


def _is_laughter(text: str) -> bool:
    return len(text) >= LEAST_LAUGH and LAUGH.fullmatch(text) is not None


class _Known(NamedTuple):
    credit: re.Pattern[str]
    openings: tuple[str, ...]
    closings: frozenset[str]
    short_closings: frozenset[str]
    sounds: frozenset[str]


@lru_cache(maxsize=1)
def _known() -> _Known:
    # between letters of its own alphabet a credit is part of another word; beside ideographs it is not
    credit_ = "|".join(re.escape(normalized(phrase)) for phrase in CREDITS)
    lists = (OPENINGS, CLOSINGS, SHORT_CLOSINGS, SOUNDS)
    openings, closings, short, sounds = (map(normalized, phrases) for phrases in lists)
    pattern = re.compile(rf"(?<![a-z0-9])(?:{credit_})(?![a-z0-9])")
    return _Known(pattern, tuple(openings), frozenset(closings), frozenset(short), frozenset(sounds))
