"""What is refused by name, whatever it holds (promise 5 of the design): columns, and words of a policy.

Any column that a table does not declare is an error. These get an error of their own, so that nobody
"fixes" it by declaring the column.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Final

_SIGNS: Final[Mapping[str, str]] = {
    "religion": """
        religion religious faith church mosque temple synagogue shrine monastery worship pray praying prayer bible
        quran koran baptism baptised pilgrimage hajj ramadan halal kosher zakat tithe buddhism buddhist christian
        christianity catholic islam islamic muslim taoism taoist daoism daoist hindu hinduism jewish judaism atheist
        宗教 信仰 教堂 清真 寺庙 寺院 礼拜 祈祷 朝觐 佛教 道教 基督 天主教 伊斯兰
    """,
    "ethnicity": """
        ethnic ethnicity race racial nationality minority caste tribe tribal ancestry
        民族 族裔 种族 血统 国籍
    """,
    "genes": "gene genetic genome genotype hereditary dna 基因 遗传",
    "fingerprints and other biometrics": """
        fingerprint palmprint biometric face facial iris retina gait voiceprint 指纹 人脸 虹膜 声纹
    """,
    "blood type": "blood 血型 献血",
    "illness and medical history": """
        illness sick sickness disease medical medication health diagnosis disability disabled handicap handicapped
        hiv cancer diabetes hepatitis tuberculosis covid infection psychiatric mental depression addiction
        pregnancy pregnant maternity abortion vaccine vaccination surgery therapy
        疾病 病史 病历 患者 健康 残疾 诊断 用药 服药 手术 艾滋 癌症 糖尿病 肝炎 结核病 新冠 精神病 抑郁 成瘾
        怀孕 孕妇 产假 流产 医疗 住院 疫苗
    """,
    "political views": """
        political politics party partisan ideology vote voter voting ballot election electoral union petition
        petitioner petitioning protest protester 政治 政党 党派 党员 入党 选举 投票 工会 信访 上访 请愿 抗议
    """,
    "movements and places": """
        location geolocation latitude longitude lat lon lng gps geo coordinate place birthplace whereabouts address
        province county district hukou residence home hometown neighbourhood neighborhood postcode zip
        trip itinerary route station movement 户口 户籍 籍贯 家乡 出生地 居住地 地址 住址 邮编 邮政编码 省份 区县
        行踪 行程 轨迹 出行路线 行动路线 位置 定位 经度 纬度
    """,
    "social ties": """
        friend contact relative spouse husband wife wives marriage marital married divorce divorced parent mother
        father son daughter brother sister sibling family kinship colleague classmate social follower
        好友 朋友 联系人 同事 同学 社交 社会关系 家庭 亲属 亲戚 亲友 配偶 丈夫 妻子 婚姻 结婚 离婚
        子女 父母 父亲 母亲 兄弟 姐妹 姊妹
    """,
    "another person": "reporter reported witness informant victim 举报 证人 受害人 被害人",
    "income, assets and tax": """
        income salary wage earnings payroll pension dividend bank balance savings deposit asset property wealth worth
        mortgage debt bankrupt bankruptcy investment securities insurance tax taxable
        收入 工资 薪水 薪酬 薪资 养老金 银行卡 银行账 银行流水 余额 存款 储蓄 资产 财产 财富 房产 房贷 负债 债务 破产
        投资 股票 证券 保险 税
    """,
    "another company's score": """
        zhima sesame fico vantagescore experian equifax transunion schufa pboc rating
        芝麻 征信 信用分 信用评分 其他公司
    """,
    "ID numbers and ways to reach a person": """
        ssn passport phone mobile telephone email wechat weibo qq imei imsi zjhm zjlx
        身份证 护照 证件号 手机 电话 邮箱 微信 微博
    """,
    "names": "name surname firstname lastname fullname nickname username mc 姓名 名字 名称 昵称",
    "free text": """
        note remark comment description narrative memo message text bz 备注 备忘 事实 说明 描述 留言 评论 自由文本
    """,
}

FORBIDDEN: Final[Mapping[str, frozenset[str]]] = {matter: frozenset(signs.split()) for matter, signs in _SIGNS.items()}
"""What is never taken in, each with the words in a column's name that show it; plurals show it too."""

_COMPOUNDS: Final[Mapping[str, str]] = {
    "idcard": "ID numbers and ways to reach a person",
    "residentid": "ID numbers and ways to reach a person",
    "nationalid": "ID numbers and ways to reach a person",
    "citizenid": "ID numbers and ways to reach a person",
    "identity": "ID numbers and ways to reach a person",
    "idnumber": "ID numbers and ways to reach a person",
    "idno": "ID numbers and ways to reach a person",
    "creditscore": "another company's score",
    "otherscore": "another company's score",
    "bloodtype": "blood type",
}

_FEWEST_LETTERS: Final = 6
"""The length from which a sign is also found when run together with another word, as in friendcount."""
_FEWEST_LETTERS_BESIDE: Final = 3
"""The least length of that other word: re-petition, s-election and friend-ly are not two words each."""
_PARTS_OF_MANY_WORDS: Final = frozenset({"mental", "parent", "rating", "station"})
"""Signs that many words contain by chance: environmental, transparent, celebrating, reforestation."""
_LONG_SIGNS: Final[Mapping[str, str]] = {
    sign: matter
    for matter, signs in FORBIDDEN.items()
    for sign in sorted(signs - _PARTS_OF_MANY_WORDS)
    if sign.isascii() and len(sign) >= _FEWEST_LETTERS
}
_OTHER_WORDS: Final = """
    addressable addressing automobile bookmobile collocation commentary commentator commenting commonwealth
    competition contactless correlative counterbalance deposition depository dislocation disinfection friendlier
    friendliness healthier motherboard outbalance overbalance preselection reallocation remarkable remarkably
    remarking shrillness snowmobile suspension
"""
_HARMLESS_WORDS: Final = frozenset(_OTHER_WORDS.split())
"""Words that contain a sign by chance and mean something else."""

_HARMLESS_PHRASES: Final = re.compile(r"\b(in place of|without (a )?deposit)\b", re.IGNORECASE)
"""Phrases in which such a word means something else."""

_CHINESE_PHRASES: Final = """
    生产假 [公认持无取见保办发]证人 证人员 [合共相不协]同事 同事[项务] [合共相不协]同学 同学习 爆破产 破产生
    母亲河 [走进融]入党 入党群 [市行民财]政党 政党群 [物一主交]流产 联系人民 微博[物士] 创新冠 新冠[军名]
    信用分[级类] [远长特]征信 小朋友 兄弟单位 (美丽|建设|热爱)家乡 家乡建设 区县级 (公共|国家|国有|集体)财产
    (合理|安全)用药 用药安全 投资项目
"""
_HARMLESS_IN_CHINESE: Final = re.compile("|".join(_CHINESE_PHRASES.split()))
"""Phrases that hold a sign by chance, for Chinese has no gaps between words, or in which it means something else."""


def forbidden_matter_of_text(text: str) -> str | None:
    """Return the forbidden matter that a text, such as the label of an activity, is about, or None."""
    return forbidden_matter(_HARMLESS_PHRASES.sub(" ", unicodedata.normalize("NFKC", text)))


def forbidden_matter(name: str) -> str | None:
    """Return what the name of a column, or a word of a policy, says it is about, if that is forbidden, else None."""
    name = unicodedata.normalize("NFKC", name)  # letters of full width are letters
    parted = re.sub(r"([a-z])([A-Z])|([A-Z])([A-Z][a-z])", r"\1\3 \2\4", name)
    words = re.findall(r"[a-z]+|[\u4e00-\u9fff]+", parted.lower())
    named = {form for word in words for form in _singular_too(word)}
    for matter, signs in FORBIDDEN.items():
        if signs & named or any(_stands_in(name, sign) for sign in signs if not sign.isascii() and sign in name):
            return matter
    joined = "".join(words)
    compounds = (matter for sign, matter in _COMPOUNDS.items() if sign in joined)
    return next(filter(None, map(_matter_run_together, words)), None) or next(compounds, None)


def _stands_in(name: str, sign: str) -> bool:
    """Return whether a Chinese sign stands anywhere in a name but within a harmless phrase."""
    harmless = [phrase.span() for phrase in _HARMLESS_IN_CHINESE.finditer(name)]
    return any(
        not any(first <= found.start() and found.end() <= end for first, end in harmless)
        for found in re.finditer(re.escape(sign), name)
    )


@cache
def _matter_run_together(word: str) -> str | None:
    """Return the forbidden matter of a word that is a long sign run together with another word, or None."""
    forms = _singular_too(word)
    if _HARMLESS_WORDS.intersection(forms):
        return None
    return next((of for sign, of in _LONG_SIGNS.items() if any(_begins_or_ends(form, sign) for form in forms)), None)


def _begins_or_ends(word: str, sign: str) -> bool:
    """Return whether a word is a sign, and before or after it enough letters to be another word."""
    return len(word) - len(sign) >= _FEWEST_LETTERS_BESIDE and (word.startswith(sign) or word.endswith(sign))


def _singular_too(word: str) -> tuple[str, ...]:
    """Return a word, and the words it may be the plural of."""
    return (word, word.removesuffix("s"), re.sub("(?<=[sxzh])es$", "", word), re.sub("ies$", "y", word))
