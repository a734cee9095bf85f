"""Colours as a browser shows them, and how they stand out."""

import re


def of(browser, selector, name):
    element = browser.find_element("css selector", selector)
    red, green, blue, *alpha = re.findall(r"[\d.]+", element.value_of_css_property(name))
    return None if alpha and float(alpha[0]) == 0.0 else [int(c) for c in (red, green, blue)]


def contrast(first, second):
    """WCAG 2.1, relative luminance."""

    def luminance(colour):
        parts = [value / 255 for value in colour]
        parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)
