// Names what a picture shows, with a file that `larq-insta convert` has written. It needs
// Larq Compute Engine's AAR and nothing else; docs/deploy_android.md shows how to build it in.

package com.example.classifier

import android.graphics.Bitmap
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.zip.ZipFile
import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import org.json.JSONArray
import org.json.JSONObject
import org.tensorflow.lite.Interpreter

/** A file of `larq-insta convert`, on the phone's storage (an asset must be copied there). */
class Classifier(model: File, threads: Int = 4) : AutoCloseable {
    private val names = member(model, "labels.txt").trimEnd().lines()
    private val preprocessing =
        Preprocessing(JSONObject(member(model, "larq_insta.json")).getJSONObject("preprocessing"))
    private val interpreter = Interpreter(model, Interpreter.Options().setNumThreads(threads))

    /**
     * The most probable class and its probability; takes a while, call it off the main thread.
     * The orientation is that of the file's EXIF data, which `Bitmap` does not know.
     */
    fun classify(picture: Bitmap, orientation: Int): Pair<String, Float> {
        val answer = arrayOf(FloatArray(names.size))
        interpreter.run(preprocessing.prepare(picture, orientation), answer)
        val best = names.indices.reduce { a, b -> if (answer[0][b] > answer[0][a]) b else a }
        return names[best] to answer[0][best]
    }

    override fun close() = interpreter.close()

    private fun member(model: File, name: String) =
        ZipFile(model).use { it.getInputStream(it.getEntry(name)).reader().readText() }
}

/** From a picture of any size to the network's input, as runtime/larq_insta_runtime/preprocessing.py does it. */
class Preprocessing(json: JSONObject) {
    private val size = json.getInt("size")
    private val channels = json.getInt("channels")
    private val crop = json.getDouble("crop").toFloat()
    private val mean = floats(json.getJSONArray("mean"))
    private val std = floats(json.getJSONArray("std"))
    private val bicubic = json.getString("resampling") == "bicubic"

    /** What one pixel of the result takes from a row or column: pixels from `first` on. */
    private class Taps(val first: Int, val weights: FloatArray)

    fun prepare(picture: Bitmap, orientation: Int): ByteBuffer {
        val side = max(1, (min(picture.width, picture.height) * crop).toInt())
        val pixels = centreSquare(picture, side, orientation)
        val resized = resizeAndTurn(resizeAndTurn(colours(pixels), side, side), side, size)
        val input = ByteBuffer.allocateDirect(4 * resized.size).order(ByteOrder.nativeOrder())
        resized.forEachIndexed { i, value ->
            val whole = Math.rint(value.toDouble()).toFloat().coerceIn(0f, 255f)
            val c = if (mean.size == 1) 0 else i % channels
            input.putFloat((whole - mean[c]) / std[c])
        }
        input.rewind()
        return input
    }

    /** The centre of the upright picture; from orientation 5 on the bitmap lies. */
    private fun centreSquare(picture: Bitmap, side: Int, orientation: Int): IntArray {
        val fromBelow = orientation in intArrayOf(3, 4, 6, 7)
        val fromRight = orientation in intArrayOf(2, 3, 7, 8)
        val left = begin(picture.width - side, fromRight)
        val top = begin(picture.height - side, fromBelow)
        val square = IntArray(side * side)
        picture.getPixels(square, 0, side, left, top, side, side)
        return IntArray(side * side) {
            val row = if (orientation > 4) it % side else it / side
            val column = if (orientation > 4) it / side else it % side
            val fromRow = if (fromBelow) side - 1 - row else row
            square[fromRow * side + if (fromRight) side - 1 - column else column]
        }
    }

    /** Where the centre begins of what is longer by `rest`, counted from either end. */
    private fun begin(rest: Int, fromEnd: Boolean) = if (fromEnd) rest / 2 else (rest + 1) / 2

    private fun colours(pixels: IntArray): FloatArray {
        val values = FloatArray(pixels.size * channels)
        pixels.forEachIndexed { i, pixel ->
            val red = onWhite((pixel shr 16) and 255, pixel ushr 24)
            val green = onWhite((pixel shr 8) and 255, pixel ushr 24)
            val blue = onWhite(pixel and 255, pixel ushr 24)
            if (channels == 1) {
                values[i] = floor(0.299f * red + 0.587f * green + 0.114f * blue + 0.5f)
            } else {
                values[3 * i] = red.toFloat()
                values[3 * i + 1] = green.toFloat()
                values[3 * i + 2] = blue.toFloat()
            }
        }
        return values
    }

    private fun onWhite(colour: Int, opacity: Int) =
        (colour * opacity + 255 * (255 - opacity) + 127) / 255

    /** Resizes to `size` rows and exchanges rows and columns: twice is a resized picture. */
    private fun resizeAndTurn(values: FloatArray, height: Int, width: Int): FloatArray {
        val result = FloatArray(width * size * channels)
        for (y in 0 until size) {
            val taps = if (bicubic) cubicTaps(y, height) else linearTaps(y, height)
            for (x in 0 until width) for (c in 0 until channels) {
                var sum = 0f
                taps.weights.forEachIndexed { i, weight ->
                    sum += weight * values[((taps.first + i) * width + x) * channels + c]
                }
                result[(x * size + y) * channels + c] = sum
            }
        }
        return result
    }

    /** Linear, over as many pixels as fall into one of the result. */
    private fun linearTaps(at: Int, count: Int): Taps {
        val ratio = 1 / (size.toFloat() / count)
        val reach = max(ratio, 1f)
        val centre = (at + 0.5f) * ratio
        val first = max(0, ceil(centre - reach - 0.5f).toInt())
        val last = min(count - 1, floor(centre + reach - 0.5f).toInt())
        val weights = FloatArray(last - first + 1) {
            max(0f, 1 - abs(first + it + 0.5f - centre) / reach)
        }
        val total = weights.sum()
        return Taps(first, FloatArray(weights.size) { weights[it] / total })
    }

    /** Cubic with a = -0.75 through four pixels; the outermost repeat. */
    private fun cubicTaps(at: Int, count: Int): Taps {
        val a = -0.75f
        val place = at * (count.toFloat() / size)
        val base = place.toInt()
        val offset = Math.rint((place - base) * 1024.0).toFloat() / 1024
        val first = max(0, base - 1)
        val last = min(count - 1, base + 2)
        val weights = FloatArray(last - first + 1)
        for (i in base - 1..base + 2) {
            val x = abs(i - base - offset)
            weights[i.coerceIn(first, last) - first] +=
                if (x <= 1) ((a + 2) * x - (a + 3)) * x * x + 1
                else ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        }
        return Taps(first, weights)
    }

    private fun floats(array: JSONArray) =
        FloatArray(array.length()) { array.getDouble(it).toFloat() }
}
