"""Promise 5: forbidden inputs are refused by name at the door, and an unknown column is an error."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from whole_records import Person, frames, plain_consent

import egretscore as es
from egretscore.cli import main
from egretscore.policy import parse_policy
from egretscore.policy.forbidden import (
    _COMPOUNDS,
    _HARMLESS_IN_CHINESE,
    FORBIDDEN,
    forbidden_matter,
    forbidden_matter_of_text,
)
from egretscore.records.schema import TABLES, is_personal_number

DECLARED = {name for table in TABLES.values() for name in table.column_names}
TOWN = frames([Person("p0", (plain_consent("p0"),))])


def with_column(table: str, column: str) -> dict[str, pa.Table]:
    return {**TOWN, table: TOWN[table].append_column(column, pa.array([None] * TOWN[table].num_rows, pa.string()))}


@pytest.mark.parametrize("matter", FORBIDDEN)
@given(st.data())
def test_a_forbidden_column_is_refused_by_name_in_every_table(matter, data):
    table = data.draw(st.sampled_from(list(TABLES)))
    sign = data.draw(st.sampled_from(sorted(FORBIDDEN[matter])))
    column = data.draw(st.sampled_from([sign, sign.upper(), f"subject_{sign}", f"{sign}_1", f"home{sign.title()}"]))
    with pytest.raises(es.ForbiddenColumnError) as refused:
        es.read_records(with_column(table, column))
    assert refused.value.column == column
    assert "never takes in" in str(refused.value)


@given(st.sampled_from(list(TABLES)), st.text(min_size=1, max_size=30))
def test_any_other_column_is_an_error_too(table, column):
    if column in TABLES[table].column_names:
        return
    with pytest.raises(es.RecordsError) as refused:
        es.read_records(with_column(table, column))
    assert refused.value.column == column


@pytest.mark.parametrize(
    "column",
    [
        *("id_card", "id_card_no", "id_card_number", "ID_CARD", "resident_id", "national_id_no", "identity_number"),
        *("names", "full_names", "locations", "addresses", "religions", "GPSLocation", "bank_balance", "net_worth"),
        *(
            "churchattendance",
            "churchgoing",
            "friendcount",
            "friendcnt",
            "lowincome",
            "HOMEADDRESS",
            "mothersmaiden",
            "familysize",
        ),
        *("monthlysalary", "hometownname", "accountbalances", "passportnumber", "politicalviews", "marriagedate"),
        *("home_city", "hukou", "postcode", "party_member", "monthlyIncome", "families", "TaxesPaid", "健康状况"),
        *("ｉｎｃｏｍｅ", "ｒｅｌｉｇｉｏｎ"),
    ],
)
def test_other_spellings_are_refused_by_name_too(column):
    """Written down apart from the list of words in the code."""
    with pytest.raises(es.ForbiddenColumnError):
        es.read_records(with_column("civic_points", column))


def test_no_declared_column_is_forbidden():
    assert [name for name in DECLARED if forbidden_matter(name)] == []


PERSONAL_NUMBERS = (
    "350203199001011234",
    "11010519491231002X",
    "11010519491231002x",
    "110105491231002",
    "13800138000",
    "8613800138000",
    "008613800138000",
    "138-0013-8000",
    "user13800138000",
    "xm:13800138000:2026",
    "id-350203199001011234",
    "u1-138-0013-8000",
    "xm:110105.1949-1231.002X",
)


@pytest.mark.parametrize("subject_id", [*PERSONAL_NUMBERS, "张三", "someone@example.org", "a b", ""])
def test_an_id_that_names_a_person_is_refused(subject_id):
    row = {**plain_consent("p0"), "subject_id": subject_id}
    records = es.read_records(frames([Person("p0", (row,))]))
    assert [problem.column for problem in records.problems] == ["subject_id"]
    assert records.connect().execute("SELECT count(*) FROM consents").fetchone() == (0,)


@pytest.mark.parametrize("subject_id", PERSONAL_NUMBERS)
def test_nobody_is_asked_about_by_such_a_number_nor_is_it_repeated(subject_id, capsys):
    for asked in (["explain", subject_id], ["erase", subject_id, "--kept", "kept"]):
        assert main(asked) == 2
        said = capsys.readouterr()
        assert "shaped like a resident ID or a mobile number, and such are never taken in" in said.err
        assert subject_id not in said.out + said.err


IDS = "[0-9A-Za-z][0-9A-Za-z._:+/=-]{0,63}"


@given(
    st.lists(st.one_of(st.sampled_from(PERSONAL_NUMBERS), st.from_regex(IDS, fullmatch=True)), max_size=3).map("".join)
)
def test_what_is_refused_of_a_pseudonym_is_what_is_shaped_like_such_a_number(subject_id):
    if re.fullmatch(IDS, subject_id):
        records = es.read_records(frames([Person("p0", ({**plain_consent("p0"), "subject_id": subject_id},))]))
        assert bool(records.problems) is is_personal_number(subject_id)


@given(
    st.one_of(
        st.uuids().map(str),
        st.binary(min_size=16, max_size=32).map(bytes.hex),
        st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,9}", fullmatch=True),
        st.integers(0, 10**9).map(str),
    )
)
def test_a_pseudonym_is_taken(subject_id):
    records = es.read_records(frames([Person("p0", ({**plain_consent("p0"), "subject_id": subject_id},))]))
    assert records.problems == ()


WORDS = sorted(sign for signs in FORBIDDEN.values() for sign in signs)
SIGNS = sorted(sign for signs in FORBIDDEN.values() for sign in signs if sign.isascii())
TAKEN_IN = ("indicators", "activities", "categories", "groups", "kinds")


def with_word(section: str, known: str, word: str) -> str:
    """Return the text of the shipped policy with another word for an entry of a list."""
    entry = rf"\[\[{section}\]\]\nid = "
    text, times = re.subn(rf'({entry})"{known}"', rf'\1"{word}"', es.shipped_policy().text)
    assert times == 1
    return text


@given(st.sampled_from(TAKEN_IN), st.sampled_from(SIGNS), st.data())
def test_a_policy_cannot_name_what_is_forbidden(section, sign, data):
    """Else its words would come in as cells, become features and head reasons."""
    known = data.draw(st.sampled_from(getattr(es.shipped_policy(), section)))
    word = data.draw(st.sampled_from([sign, f"{sign}s", f"{sign}_record", f"on_{sign}", f"on_{sign}_day"]))
    with pytest.raises(es.PolicyError, match=rf"\[{section}\] '{word}' names .*promise 5"):
        parse_policy(with_word(section, known.id, word))


@pytest.mark.parametrize(
    "word",
    [
        *("religion", "church_going", "mosque", "temple_visits", "prayer", "praying", "zakat", "pilgrimages"),
        *("caste", "tribe", "racial", "ancestry", "genotype", "hiv", "pregnancy", "pregnant", "disabled"),
        *("vaccination", "mental_illness", "diseases", "voting", "elections", "union_member", "trade_unions"),
        *("petition", "protests", "maternity_leave", "religious_party", "geo_location"),
        *("birthplace", "hometown", "province", "marriage", "married", "divorce", "siblings", "wives", "mothers"),
        *("pension", "savings", "debts", "investments", "bankruptcy", "experian_score", "imei", "nickname", "memo"),
    ],
)
def test_a_policy_cannot_name_these_either(word):
    """Written down apart from the list of words in the code."""
    with pytest.raises(es.PolicyError, match="promise 5"):
        parse_policy(with_word("groups", "public", word))


def refused_by_the_readme(name: str, listed: str, separator: str) -> list[str]:
    """Return what the README of a language says is refused."""
    text = (Path(__file__).parents[2] / name).read_text(encoding="utf-8")
    (found,) = re.findall(listed, text)
    return re.split(separator, found)


REFUSED = [
    *refused_by_the_readme("README.md", r"(?m)^5\. \*\*.*?\*\* (.+) are refused", ", | and "),
    *refused_by_the_readme("README.zh.md", r"(?m)^5\. \*\*.*?\*\* (.+?)，按列名", "、"),
]


@pytest.mark.parametrize("said", REFUSED)
def test_what_the_readme_says_is_refused_is_refused_in_columns_and_in_a_policy(said):
    column = said.lower().replace(" ", "_")
    with pytest.raises(es.ForbiddenColumnError):
        es.read_records(with_column("civic_points", column))
    told = es.shipped_policy().text.replace('"志愿服务"', f'"{said}"')
    assert told != es.shipped_policy().text
    with pytest.raises(es.PolicyError, match="promise 5"):
        parse_policy(told)


@pytest.mark.parametrize(
    "said",
    [
        *("朋友", "丈夫", "妻子", "同事", "同学", "居住地", "家乡", "邮编", "区县", "户籍", "行踪打卡", "行动路线"),
        *("薪水", "薪酬", "银行卡号", "银行流水", "诊断", "用药记录", "癌症", "手术", "政党", "姐妹", "信用分", "征信"),
        *("证件号", "名字", "描述", "国籍", "other_scores", "OtherScore"),
    ],
)
def test_these_are_refused_as_well_as_their_english(said):
    """Written down apart from the list of words in the code."""
    with pytest.raises(es.ForbiddenColumnError):
        es.read_records(with_column("civic_points", said))


@pytest.mark.parametrize("said", ["走入党员之家", "行政党员", "走入党派", "保护母亲河的母亲", "小朋友和朋友"])
def test_a_harmless_phrase_hides_no_sign_beside_it(said):
    assert forbidden_matter_of_text(said) is not None


@given(st.sampled_from([sign for sign in WORDS if not sign.isascii()]), st.data())
def test_a_sign_is_found_after_any_harmless_phrase_also_where_they_share_a_letter(sign, data):
    phrase = data.draw(st.from_regex(_HARMLESS_IN_CHINESE, fullmatch=True))
    shared = data.draw(st.sampled_from([n for n in range(len(sign)) if phrase.endswith(sign[:n])]))
    assert forbidden_matter_of_text(phrase + sign[shared:]) is not None


def test_ordinary_words_in_chinese_are_free():
    for text in (
        *("时间银行", "小朋友课堂", "志愿服务", "绿色出行", "垃圾分类", "暂扣许可证件", "社区服务", "急救培训"),
        *(
            "生产假冒伪劣商品",
            "公证人员",
            "见证人",
            "保证人违约",
            "劳动合同事项",
            "共同事务",
            "违规爆破产生",
            "共同学习",
        ),
        *("保护母亲河行动", "走入党群服务中心", "市政党群", "物流产业服务", "一流产品", "联系人民群众", "微博物馆讲解"),
        *("创新冠军", "信用分级管理", "远征信念", "道德银行", "绿色银行", "合理用药宣传", "美丽家乡建设", "区县级表彰"),
        *("公交路线引导", "侵占公共财产", "企业投资项目承诺", "无证人员", "持证人员"),
        *("文明行为", "食品安全宣传", "图书漂流", "敬老服务", "河道巡查", "交通文明引导", "旧衣回收"),
    ):
        assert forbidden_matter_of_text(text) is None


@given(st.sampled_from(TAKEN_IN), st.sampled_from(WORDS), st.data())
def test_a_policy_cannot_tell_of_what_is_forbidden_under_another_id(section, sign, data):
    """A reason is read by its text, in either language, and not by the id of an activity."""
    entry = data.draw(st.sampled_from(getattr(es.shipped_policy(), section)))
    language = data.draw(st.sampled_from(["zh", "en"]))
    said = data.draw(st.sampled_from([sign, sign.capitalize(), f"a day of {sign}", f"{sign}活动"]))
    told, times = re.subn(
        rf'(id = "{entry.id}"\n(?:[a-z_]+ = .*\n)*?{language} = )"[^"]*"', rf'\1"{said}"', es.shipped_policy().text
    )
    assert times >= 1
    with pytest.raises(es.PolicyError, match=r"names .*promise 5"):
        parse_policy(told)


def test_a_text_may_say_without_deposit_and_in_place_of():
    assert forbidden_matter_of_text("library loan without deposit") is None
    assert forbidden_matter_of_text("ｌｏａｎ ｗｉｔｈｏｕｔ ｄｅｐｏｓｉｔ") is None
    assert forbidden_matter_of_text("ＲＥＬＩＧＩＯＮ") == "religion"
    assert forbidden_matter_of_text("commitment in place of an approval") is None
    assert forbidden_matter_of_text("deposit at a bank, in place of birth") == "income, assets and tax"
    assert forbidden_matter_of_text("place of birth") == "movements and places"


@pytest.mark.parametrize(
    "word",
    [
        *("reunion", "first_aid", "water_saving", "green_travel", "bee_hives", "hospital_volunteering"),
        *("street_cleaning", "book_lending", "tree_planting", "neighbour_help", "car_sharing", "bicycle_repair"),
        *("exhibition_guide", "facet", "charity", "template", "deforestation", "information_desk", "interface"),
        *("traffic_warden", "senior_care", "racecourse"),
        *("competition", "repetition", "selection", "preselection", "allocation", "relocation"),
        *("suspension", "disinfection", "environmental", "experimental", "fundamental", "instrumental", "monumental"),
        *("transparent", "transparency", "apparent", "parenthesis", "operating", "celebrating", "decorating"),
        *("generating", "reforestation", "workstation", "stationery", "manifestation", "friendly", "eco_friendly"),
        *("friendliness", "motherboards", "healthy_eating", "contactless_payment", "automobile", "bookmobiles"),
        *("commonwealth", "addressed_issues", "balanced_diet", "rebalanced", "remarkable", "commentary", "husbandry"),
        *("sprayer", "spraying", "learnings", "devoting", "pivoting", "enshrined", "smothered", "depository"),
        *("coordinated", "temperature", "placement", "incoming", "outcome", "template_id", "deposited_waste"),
        *("mobilisation", "unreported", "informative", "information", "performance"),
        *("mosquito_control", "leadership", "scholarship", "membership", "fitness_course", "register", "registration"),
        *("workshop", "attendance", "hours_served", "kilometres_cycled", "bottles_returned", "recycled_paper_kg"),
        *("litter_picking", "river_patrol", "blackout_drill", "quiz_points", "library_visits", "level", "badge"),
        *("lesson_count", "campaign", "season", "checked_in", "verified", "issued_by", "priority", "channel"),
    ],
)
def test_ordinary_words_are_free(word):
    assert forbidden_matter(word) is None


def test_every_word_that_is_forbidden_is_listed_once():
    signs = [sign for of in FORBIDDEN.values() for sign in of]
    assert len(signs) == len(set(signs))
    for sign in signs:
        part_of_it = [other for other in signs if not other.isascii() and other != sign and other in sign]
        singular = [other for other in signs if sign in {f"{other}s", f"{other}es"}]
        compounds = [compound for compound in _COMPOUNDS if compound in sign]
        assert [*part_of_it, *singular, *compounds] == [], sign
