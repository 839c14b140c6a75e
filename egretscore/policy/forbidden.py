"""What is refused by name, whatever it holds (promise 5 of the design): in columns, and in a policy's own words.

Any column that a table does not declare is an error; these get an error of their own, so
that nobody mends it by adding the column.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

FORBIDDEN: Final[Mapping[str, frozenset[str]]] = {
    "religion": frozenset({"religion", "religious", "faith", "church", "宗教", "信仰"}),
    "ethnicity": frozenset({"ethnic", "ethnicity", "race", "nationality", "民族", "族裔", "minority"}),
    "genes": frozenset({"gene", "genes", "genetic", "genome", "dna", "基因"}),
    "fingerprints and other biometrics": frozenset(
        {"fingerprint", "fingerprints", "biometric", "biometrics", "face", "iris", "voiceprint", "指纹", "人脸"}
    ),
    "blood type": frozenset({"blood", "血型"}),
    "illness and medical history": frozenset(
        {"illness", "disease", "medical", "health", "diagnosis", "disability", "疾病", "病史", "健康"}
    ),
    "political views": frozenset({"political", "politics", "party", "政治", "党派"}),
    "movements and places": frozenset(
        {
            *(
                "location",
                "latitude",
                "longitude",
                "lat",
                "lon",
                "lng",
                "gps",
                "place",
                "address",
                "district",
                "hukou",
                "residence",
            ),
            *("home", "neighbourhood", "neighborhood", "postcode", "zip", "户口", "籍贯"),
            *("trip", "route", "station", "movement", "轨迹", "位置", "地址", "住址", "行程"),
        }
    ),
    "social ties": frozenset(
        {
            *("friend", "friends", "contact", "contacts", "relative", "relatives", "spouse", "parent", "family"),
            *("social", "follower", "followers", "好友", "亲属", "配偶", "家庭", "社交"),
        }
    ),
    "another person": frozenset(
        {"reporter", "reported", "witness", "informant", "victim", "举报", "举报人", "被举报人"}
    ),
    "income, assets and tax": frozenset(
        {
            *("bank", "balance", "mortgage", "worth", "earnings", "余额", "负债"),
            *("income", "salary", "wage", "wages", "asset", "assets", "deposit", "deposits", "property", "wealth"),
            *(
                "securities",
                "insurance",
                "tax",
                "taxes",
                "收入",
                "工资",
                "资产",
                "存款",
                "房产",
                "纳税",
                "保险",
                "证券",
            ),
        }
    ),
    "another company's score": frozenset({"zhima", "sesame", "fico", "vantagescore", "rating", "芝麻", "芝麻分"}),
    "ID numbers and ways to reach a person": frozenset(
        {
            *("idcard", "ssn", "passport", "phone", "mobile", "telephone", "email", "wechat", "zjhm", "zjlx"),
            *("身份证", "身份证号", "证件号码", "手机", "手机号", "电话", "邮箱", "微信"),
        }
    ),
    "names": frozenset({"name", "surname", "firstname", "lastname", "fullname", "mc", "姓名", "名称"}),
    "free text": frozenset(
        {
            "note",
            "notes",
            "remark",
            "remarks",
            "comment",
            "comments",
            "description",
            "text",
            "bz",
            "备注",
            "事实",
            "说明",
        }
    ),
}
"""What is never taken in, and the words in a column's name that show it."""

_COMPOUNDS: Final[Mapping[str, str]] = {
    "idcard": "ID numbers and ways to reach a person",
    "residentid": "ID numbers and ways to reach a person",
    "nationalid": "ID numbers and ways to reach a person",
    "citizenid": "ID numbers and ways to reach a person",
    "identity": "ID numbers and ways to reach a person",
    "idnumber": "ID numbers and ways to reach a person",
    "idno": "ID numbers and ways to reach a person",
    "creditscore": "another company's score",
    "bloodtype": "blood type",
}


def forbidden_matter(name: str) -> str | None:
    """Return what the name of a column, or a word of a policy, says it is about, if that is forbidden, else None."""
    parted = re.sub(r"([a-z])([A-Z])|([A-Z])([A-Z][a-z])", r"\1\3 \2\4", name)
    words = re.findall(r"[a-z]+|[\u4e00-\u9fff]+", parted.lower())
    named = {form for word in words for form in _singular_too(word)}
    for matter, signs in FORBIDDEN.items():
        if signs & named or any(sign in name for sign in signs if not sign.isascii()):
            return matter
    joined = "".join(words)
    return next((matter for sign, matter in _COMPOUNDS.items() if sign in joined), None)


def _singular_too(word: str) -> tuple[str, ...]:
    """Return a word, and what it may be the plural of."""
    return (word, word.removesuffix("s"), word.removesuffix("es"), re.sub("ies$", "y", word))
