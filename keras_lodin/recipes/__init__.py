"""The poster's rows as data, and the scales that they can be run at."""

from keras_lodin.recipes.poster import RECIPES as RECIPES
from keras_lodin.recipes.recipe import Recipe as Recipe
from keras_lodin.recipes.scales import SCALES as SCALES
