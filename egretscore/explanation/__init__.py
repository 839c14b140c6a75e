"""Explanation: the reasons of a score, in Chinese and English, as text, JSON and shap values."""

from egretscore.explanation.each_record import RecordEffect, text_of_each
from egretscore.explanation.explanation import Explanation
from egretscore.explanation.reasons import Reason, main_reasons, reasons
from egretscore.explanation.texts import LANGUAGES, texts

__all__ = [
    "LANGUAGES",
    "Explanation",
    "Reason",
    "RecordEffect",
    "main_reasons",
    "reasons",
    "text_of_each",
    "texts",
]
