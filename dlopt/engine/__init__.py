"""The floor everything stands on: what a rule is, and what runs it."""

from dlopt.engine import faces
from dlopt.engine.optimizer import EngineOptions, RuleOptimizer
from dlopt.engine.rule import GrammarError, Rule, rule_of, xp

__all__ = ["EngineOptions", "GrammarError", "Rule", "RuleOptimizer", "faces", "rule_of", "xp"]
