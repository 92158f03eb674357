// Package templates holds the HTML pages and their stylesheet, embedded and
// parsed once. Each page has one struct that says what it shows.
package templates
