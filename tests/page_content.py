"""A page's content with all its parts, made from the stand-in model and the store of plain organs."""

from pathlib import Path

from ctvlp.evaluate import difference, evaluate
from ctvlp.page.archive import summarize_archive
from ctvlp.page.content import Comparison, Curve, PageContent
from ctvlp.page.content_archive import Simulation
from ctvlp.page.studies import Sources, choose_studies, view_studies
from ctvlp.prompts import encode_prompts, screening_prompts
from ctvlp.scoring import score_store
from preprocess.store import Store
from tests.screened_store import VOCABULARY, DensityModel, write_screened_store


def full_content(folder: Path, *, studies: int = 24, shown: int = 3) -> PageContent:
    labels = write_screened_store(folder, studies=studies)
    store, model = Store(folder), DensityModel()
    scores, _ = score_store(store, model, VOCABULARY)
    truth = labels.drop(columns="patient_id")
    judged = evaluate(scores, labels.reset_index(), resamples=50)
    inverted = evaluate(scores.assign(probability=1 - scores["probability"]), labels.reset_index(), resamples=50)
    prompts = encode_prompts(screening_prompts(VOCABULARY), lambda texts: model.encode_text(texts).numpy())
    sources = Sources(store, VOCABULARY, scores, model, prompts, truth)  # type: ignore[arg-type]
    return PageContent(
        title="A page of <everything>",
        subtitle="Made by a test.",
        archive=summarize_archive(store, {"note": "from a test"}),
        simulation=Simulation("0.0", "0123456789abcdef"),
        evaluation=judged,
        truth_name="the truth",
        comparisons=[Comparison("inverted", "the same scores upside down", inverted, difference(judged, inverted))],
        curves=[Curve("loss", {"training": [(1, 2.0), (2, 1.0), (3, float("nan")), (4, 0.5)]})],
        reader={"labels": (0.9, 0.8, 0.85)},
        studies=view_studies(sources, choose_studies(scores, shown)),
        study_rule="The first ones.",
        provenance={"report labels used in training": "no"},
    )


def without_truth(content: PageContent) -> PageContent:
    return PageContent(content.title, content.subtitle, content.archive, studies=content.studies)
