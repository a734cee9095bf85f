"""Whole jobs, from names of data and files to files: what the command line calls."""

from keras_lodin.workflows.choose import choose_detector as choose_detector
from keras_lodin.workflows.compare_gradients import gradients as gradients
from keras_lodin.workflows.evaluate import evaluate_models as evaluate_models
from keras_lodin.workflows.evaluate import evaluation_folder as evaluation_folder
from keras_lodin.workflows.export import export_model as export_model
from keras_lodin.workflows.features import write_features as write_features
from keras_lodin.workflows.monitor import monitor_scores as monitor_scores
from keras_lodin.workflows.recipes.run import compare_recipes as compare_recipes
from keras_lodin.workflows.recipes.run import run_recipe as run_recipe
from keras_lodin.workflows.run_folder import results_folder as results_folder
from keras_lodin.workflows.run_quickstart import quickstart as quickstart
from keras_lodin.workflows.score import score_images as score_images
from keras_lodin.workflows.scoring import count_scores as count_scores
from keras_lodin.workflows.scoring import names_folder as names_folder
from keras_lodin.workflows.scoring import score_to_folder as score_to_folder
from keras_lodin.workflows.sweeps.run import sweep as sweep
from keras_lodin.workflows.train_network import train as train
from keras_lodin.workflows.tune import tune_model as tune_model
