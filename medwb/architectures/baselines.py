"""Cheap baselines that belong in every table: a network that does not beat them has learnt nothing of use.

Each works on flattened pixels in 0..1, one classifier a label. scikit-learn is imported where it is needed.
"""

from typing import Any

from medwb.architectures import baseline


@baseline("always-negative", title="Always negative", constant=True)
def always_negative(seed: int) -> Any:
    """No finding, ever: what accuracy alone would reward on rare findings."""
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="constant", constant=0)


@baseline("prevalence", title="Prevalence", constant=True)
def prevalence(seed: int) -> Any:
    """The training prevalence as every score."""
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="prior")


@baseline("logistic-regression", title="Logistic regression")
def logistic_regression(seed: int) -> Any:
    """Logistic regression on standardised pixels, with a strong penalty (C = 0.01)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))


@baseline("svc", title="SVC, balanced", reference_score=0.877)
def svc(seed: int) -> Any:
    """Support vector classifier (RBF kernel) with balanced class weights on raw pixels, as the study's."""
    from sklearn.svm import SVC

    return SVC(class_weight="balanced", cache_size=1000)


@baseline("k-nn", title="k-NN")
def k_nn(seed: int) -> Any:
    """The five nearest training images by Euclidean distance of pixels."""
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(5, algorithm="brute")
