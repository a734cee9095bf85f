"""The poster's rows as data, and the scales that they can be run at."""

from keras_lodin.workflows.recipes.poster import RECIPES as RECIPES
from keras_lodin.workflows.recipes.recipe import Recipe as Recipe
from keras_lodin.workflows.recipes.scales import SCALES as SCALES
