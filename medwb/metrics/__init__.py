"""Metrics of multi-label answers, each over many weightings of the samples at once.

A metric is a function of a `Tally`: counts and sums of `y_true` (float (N, L): 1, 0, NaN for unknown), `y_score`
(float (N, L) in 0..1) and `threshold` (float or (L,)) under `weights` (float (B, N)). It returns float64 (B, L), a
value a weighting and label, or (B,) where it judges all labels together. One row of ones is the plain metric; a
bootstrap draw is a row of counts. Samples whose label is unknown do not count for that label. A value that is not
defined, such as the F1 of a label without a positive, is NaN.
"""

from medwb.metrics.answers import CALIBRATION_BINS, Answers
from medwb.metrics.entry import METRICS, Average, Metric, average, check_answers, compute, evaluate, metric, support
from medwb.metrics.tally import Tally
from medwb.metrics.tuning import collapsed_labels, tune_thresholds
from medwb.metrics.weightings import Weightings

__all__ = [
    "CALIBRATION_BINS", "METRICS", "Answers", "Average", "Metric", "Tally", "Weightings", "average",
    "check_answers", "collapsed_labels", "compute", "evaluate", "metric", "support", "tune_thresholds",
]  # fmt: skip
